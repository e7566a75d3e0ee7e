"""Prompts: MLflow keeps them as registered models and versions with a tag, and has searches leave them out."""

from collections.abc import Mapping, Sequence

from services.common.errors import InvalidArgument
from services.common.filters import Comparison

PROMPT_TAG = "mlflow.prompt.is_prompt"
TEXT_TAG = "mlflow.prompt.text"

# What MLflow's clients give as the source of a prompt, which has none.
_SOURCES = frozenset({"dummy-source", "prompt-template"})


def is_prompt(tags: Mapping[str, str]) -> bool:
    """Whether tags mark a prompt."""
    return tags.get(PROMPT_TAG, "false").lower() == "true"


def check_source(source: str) -> None:
    """Raises InvalidArgument for the source of a prompt that could be taken for one."""
    if source not in _SOURCES:
        raise InvalidArgument(f"Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder.")


def split(terms: Sequence[Comparison]) -> tuple[list[Comparison], bool]:
    """Return the terms to search by, and whether prompts are searched (as MLflow 3.18, _is_querying_prompt).

    The first term about the tag decides. Unless it asks for prompts, no term about the tag is looked at.
    """
    about = [term for term in terms if term.entity == "tag" and term.key == PROMPT_TAG]
    if about and (about[0].op, str(about[0].value).lower()) in (("=", "true"), ("!=", "false")):
        return list(terms), True
    return [term for term in terms if term not in about], False
