"""Which sources a version may name (as MLflow 3.18, handlers.py: _validate_source_run, _validate_source_model).

A source in the platform's own artifacts, or on the disk of a server, must lie below the artifacts of the run or the
logged model that the version is said to come from, so that nobody registers, and later reads, what is another's.
"""

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote_plus, urlsplit

from services.common.artifact_stores import MANAGED_SCHEME, Location
from services.common.errors import InvalidArgument
from services.registry import rules

RUN, MODEL = "run_id", "model_id"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelUri:
    """What `models:/…` names: a logged model, or of a registered model a version, an alias, or a stage's newest.

    Of a registered model without any of those, the newest version is meant.
    """

    model_id: str | None = None
    name: str = ""
    version: str | None = None
    alias: str | None = None
    stage: str | None = None


def parse_model_uri(source: str) -> ModelUri | None:
    """Return what a source of the scheme `models` names, None for another scheme. Raises InvalidArgument."""
    parts = _split(source)
    if parts.scheme != "models":
        return None
    if parts.netloc:
        raise _refusal(source, "Registered model sources must use the active model registry.")
    # A query and a fragment are part of a name, as MLflow has it.
    path = source.partition(":")[2]
    segments = path.lstrip("/").split("/")
    if not path.startswith("/") or len(segments) > 2 or not all(segment.strip() for segment in segments):
        raise unclaimed(source, MODEL)
    if len(segments) == 2:
        return _of_suffix(*segments)
    name, at, alias = segments[0].rpartition("@")
    if not at:
        return ModelUri(model_id=segments[0])
    if not alias.strip():
        raise unclaimed(source, MODEL)
    return ModelUri(name=name, alias=alias)


def is_contained(source: str) -> bool:
    """Whether a source must lie below the artifacts of a run or a logged model."""
    return _is_local(source) or _split(source).scheme == MANAGED_SCHEME


def check_of_run(source: str, *, run_id: str, root: str | None) -> None:
    """Raises InvalidArgument unless a version may come from `source`, said to be of a run, if of any.

    `root` is where the run's artifacts are; it is looked at where `is_contained`.
    """
    if _is_local(source):
        _check_local(source, claim=RUN, owner=run_id, root=root)
        return
    _check_plain(source)
    parts = _split(source)
    names_run = parts.scheme == "runs"
    if names_run and (parts.netloc or not run_id or parts.path.split("/")[1] != run_id):
        raise unclaimed(source, RUN)
    if parts.scheme == "models":
        raise unclaimed(source, MODEL)
    if is_contained(source) and not _is_below(source, root):
        raise unclaimed(source, RUN)


def check_of_model(source: str, *, model_id: str, root: str | None) -> None:
    """Raises InvalidArgument unless a version may come from `source`, said to be of a logged model.

    `root` is where the logged model's artifacts are, None if there is no such model.
    """
    if _is_local(source):
        _check_local(source, claim=MODEL, owner=model_id, root=root)
        return
    _check_plain(source)
    parts = _split(source)
    names_other = parts.scheme == "models" and parts.path.removeprefix("/") != model_id
    if names_other or parts.scheme == "runs" or (is_contained(source) and not _is_below(source, root)):
        raise unclaimed(source, MODEL)


def unclaimed(source: str, claim: str) -> InvalidArgument:
    """Return the error for a source that lies in nothing that the caller named."""
    return _refusal(source, f"The {claim} request parameter must identify the resource that contains the source.")


def mismatched(source: str) -> InvalidArgument:
    """Return the error for a copy said to come from elsewhere than what it copies."""
    return _refusal(source, "The run_id and model_id request parameters must match the referenced model version.")


def of_prompt(source: str) -> InvalidArgument:
    """Return the error for a copy of a prompt."""
    return _refusal(source, "Prompt versions cannot be used as model version sources.")


def absent(source: str) -> InvalidArgument:
    """Return the error for a source at which there is nothing."""
    return _refusal(source, "There are no files at it: log them before the version is created.")


def _of_suffix(name: str, suffix: str) -> ModelUri:
    if suffix.isdigit():
        return ModelUri(name=name, version=suffix)
    return ModelUri(name=name, stage=None if suffix.lower() == rules.LATEST else suffix)


def _check_plain(source: str) -> None:
    """Raises InvalidArgument for a source without a path, or with one that could lead elsewhere once it is decoded."""
    decoded = source
    while (further := unquote_plus(decoded)) != decoded:
        decoded = further
    path = re.sub("/+", "/", _split(decoded).path.rstrip("/"))
    climbs = "\0" in path or ".." in decoded.split("/")
    if climbs or not path.startswith("/") or posixpath.normpath(path) != path:
        raise _refusal(
            source,
            "If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, an "
            "absolute path must be provided without relative path references present. Please provide an absolute path.",
        )


def _check_local(source: str, *, claim: str, owner: str, root: str | None) -> None:
    if owner and root is None:
        raise unclaimed(source, claim)
    if not owner or not _is_below(source, root):
        raise _refusal(
            source,
            f"To use a local path as a model version source, the {claim} request parameter has to be specified and the "
            f"local path has to be contained within the artifact directory of the run specified by the {claim}.",
        )


def _is_local(source: str) -> bool:
    return _split(source).scheme in ("", "file")


def _is_below(source: str, root: str | None) -> bool:
    """Whether a source is `root` or lies in it; no source does that could be read in two ways."""
    inner, outer = Location.parse(source), Location.parse(root or "")
    return inner is not None and outer is not None and bool(outer.segments) and inner.below(outer) is not None


def _split(source: str) -> SplitResult:
    try:
        return urlsplit(source)
    except ValueError:
        raise _refusal(source, "It is not a URI.") from None


def _refusal(source: str, reason: str) -> InvalidArgument:
    return InvalidArgument(f"Invalid model version source: '{source}'. {reason}")
