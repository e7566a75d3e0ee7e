"""What webhooks can be told of, in the words of MLflow and of Databricks, and which of our events that is.

Our events are known here by the values of their kinds, so that none has to exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from services.registry import rules
from services.registry.events.model import Told
from services.registry.prompts import PROMPT_TAG, is_prompt

MODEL_CREATED = "REGISTERED_MODEL_CREATED"
VERSION_CREATED = "MODEL_VERSION_CREATED"
TRANSITIONED = "MODEL_VERSION_TRANSITIONED_STAGE"
REQUESTED = "TRANSITION_REQUEST_CREATED"
COMMENTED = "COMMENT_CREATED"
VERSION_TAG_SET = "MODEL_VERSION_TAG_SET"


class Dialect(StrEnum):
    """Whose words a webhook is told in."""

    MLFLOW = "MLFLOW"
    DATABRICKS = "DATABRICKS"


# The actions that each entity of MLflow has (as MLflow 3.18, entities/webhook.py).
MLFLOW_ACTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "registered_model": ("created",),
        "model_version": ("created",),
        "model_version_tag": ("set", "deleted"),
        "model_version_alias": ("created", "deleted"),
        "prompt": ("created",),
        "prompt_version": ("created",),
        "prompt_tag": ("set", "deleted"),
        "prompt_version_tag": ("set", "deleted"),
        "prompt_alias": ("created", "deleted"),
        "budget_policy": ("exceeded",),
    }
)

# By kind: what MLflow says of a registered model, and of a prompt.
_MLFLOW: Mapping[str, tuple[str | None, str]] = MappingProxyType(
    {
        MODEL_CREATED: ("registered_model.created", "prompt.created"),
        VERSION_CREATED: ("model_version.created", "prompt_version.created"),
        "REGISTERED_MODEL_TAG_SET": (None, "prompt_tag.set"),
        "REGISTERED_MODEL_TAG_DELETED": (None, "prompt_tag.deleted"),
        VERSION_TAG_SET: ("model_version_tag.set", "prompt_version_tag.set"),
        "MODEL_VERSION_TAG_DELETED": ("model_version_tag.deleted", "prompt_version_tag.deleted"),
        "REGISTERED_MODEL_ALIAS_SET": ("model_version_alias.created", "prompt_alias.created"),
        "REGISTERED_MODEL_ALIAS_DELETED": ("model_version_alias.deleted", "prompt_alias.deleted"),
    }
)

# Where Databricks has a second name for a move or a request, by the field that says where to.
_STAGE_FIELDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        TRANSITIONED: ("current_stage", "MODEL_VERSION_TRANSITIONED_TO_{}"),
        REQUESTED: ("to_stage", "TRANSITION_REQUEST_TO_{}_CREATED"),
    }
)
_NAMED_STAGES = (rules.STAGING, rules.PRODUCTION, rules.ARCHIVED)

DATABRICKS_EVENTS = (
    VERSION_CREATED,
    TRANSITIONED,
    REQUESTED,
    COMMENTED,
    MODEL_CREATED,
    VERSION_TAG_SET,
    *(template.format(stage.upper()) for _, template in _STAGE_FIELDS.values() for stage in _NAMED_STAGES),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Happening:
    """What a webhook is told of. `kind` is the value of an event's kind, `name` the model's after the change, and the
    time is in milliseconds since the Unix epoch.
    """

    kind: str
    name: str
    revision: int
    actor: str
    creation_timestamp: int
    version: int | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def creates_prompt(self) -> bool | None:
        """Whether what came to be is a prompt; None if nothing did, so that it does not say."""
        if self.kind not in (MODEL_CREATED, VERSION_CREATED):
            return None
        return is_prompt({PROMPT_TAG: self.changes.get(f"tags.{PROMPT_TAG}", {}).get("to", "")})


def happening(told: Told) -> Happening:
    """Return what an event tells."""
    return Happening(
        kind=told.event.kind.value,
        name=told.model.name,
        revision=told.revision,
        actor=told.actor,
        creation_timestamp=told.creation_timestamp,
        version=told.event.version,
        changes=told.event.changes,
    )


def names_of(what: Happening, dialect: Dialect, *, of_prompt: bool) -> tuple[str, ...]:
    """Return what an event is called, which may be nothing, or two names. `of_prompt` says whether the model is a
    prompt; what came to be says so itself.
    """
    of_prompt = of_prompt if what.creates_prompt is None else what.creates_prompt
    if dialect is Dialect.MLFLOW:
        name = _MLFLOW.get(what.kind, (None, None))[of_prompt]
        return (name,) if name else ()
    if of_prompt or what.kind not in DATABRICKS_EVENTS:
        return ()
    return (what.kind, *_second_name(what))


def kind_of(name: str) -> str:
    """Return the kind of the events that Databricks calls so."""
    for kind, (_, template) in _STAGE_FIELDS.items():
        if name in [template.format(stage.upper()) for stage in _NAMED_STAGES]:
            return kind
    return name


def _second_name(what: Happening) -> tuple[str, ...]:
    field_name, template = _STAGE_FIELDS.get(what.kind, ("", ""))
    stage = what.changes.get(field_name, {}).get("to")
    return (template.format(stage.upper()),) if stage in _NAMED_STAGES else ()
