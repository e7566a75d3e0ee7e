"""Filters of the API's searches, as pages need them. A text with quotes of both kinds stands in no filter."""

from collections.abc import Iterable, Mapping

_PROMPT_TAG = "mlflow.prompt.is_prompt"


def name_contains(text: str) -> str | None:
    """Return the filter for names that contain a text, in any case; a quote that cannot be said is any character."""
    if not text:
        return None
    quote = _quote(text) or "'"
    return f"name ILIKE {quote}%{text.replace(quote, '_')}%{quote}"


def versions_of(name: str, tags: Iterable[Mapping[str, str]]) -> str | None:
    """Return the filter for the versions of a model, of which the tags tell whether it is a prompt; searches leave
    those out that do not ask for them. None if there is no such filter.
    """
    quote = _quote(name)
    if quote is None:
        return None
    is_prompt = any(tag["key"] == _PROMPT_TAG for tag in tags)
    return f"name = {quote}{name}{quote}" + (f" AND tags.`{_PROMPT_TAG}` = 'true'" if is_prompt else "")


def _quote(text: str) -> str | None:
    return next((quote for quote in ("'", '"') if quote not in text), None)
