"""Upkeep of a running platform: removing for good what was deleted long ago, and finding damaged contents.

Nothing here is kept from one run to the next: what was cut off is found again.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import grpc

from modelstead.artifacts.v1.maintenance_pb2 import Finding
from modelstead.tracking.v1.retention_pb2 import Purgeable
from services.common.artifact_stores import Location
from services.local.peers import Artifacts, Refused, Tracking

Say = Callable[[str], None]

_REPORT_EVERY = 500
# A call has half a minute, a large tree may take longer, and the next call goes on where the last one stopped.
_CALLS_A_TREE_MAX = 1000

# In this order: an experiment can go when what it holds is gone.
_NOUNS = {
    Purgeable.Kind.RUN: "run",
    Purgeable.Kind.LOGGED_MODEL: "logged model",
    Purgeable.Kind.EXPERIMENT: "experiment",
}


@dataclass(slots=True, kw_only=True)
class Collected:
    """How many resources went, by noun, and how many files; and by store how many stayed with their artifacts, or went
    without them.
    """

    purged: Counter[str] = field(default_factory=Counter)
    file_count: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)

    @property
    def resources(self) -> str:
        """As in `2 runs, 1 logged model, 0 experiments`."""
        return ", ".join(counted(self.purged[noun], noun) for noun in _NOUNS.values())

    @property
    def reasons(self) -> str:
        """As in `2 in sftp://host`."""
        return _by_store(self.kept)

    @property
    def abandonments(self) -> str:
        """As in `2 in sftp://host`."""
        return _by_store(self.left)


def preview(tracking: Tracking, *, deleted_before_ms: int, say: Say) -> Counter[str]:
    """Name what `collect` would purge, and count it by noun. Experiments are named only if they are empty already.

    Raises Refused.
    """
    found: Counter[str] = Counter()
    for noun, resource in _purgeable(tracking, deleted_before_ms):
        found[noun] += 1
        say(f"{noun} {resource.id}  {resource.artifact_uri}".rstrip())
    return found


def collect(
    tracking: Tracking, artifacts: Artifacts, *, deleted_before_ms: int, abandoned: Collection[Location], say: Say
) -> Collected:
    """Purge all that was deleted before a time, artifacts first. May be killed, and run again, at any point.

    Where artifacts cannot be deleted, their owner stays and is counted in `kept`; those at or below `abandoned` places
    are left, and their owner goes. Raises Refused if tracking fails.
    """
    done = Collected()
    for noun, resource in _purgeable(tracking, deleted_before_ms):
        if not tracking.begin(resource, deleted_before_ms):
            say(f"The {noun} {resource.id} was restored meanwhile and stays.")
        elif _is_left(resource, abandoned, done) or _delete_artifacts(artifacts, resource, done, say):
            tracking.purge(resource)
            done.purged[noun] += 1
            if done.purged.total() % _REPORT_EVERY == 0:
                say(f"So far {done.resources}.")
    tracking.forget_request_ids()
    tracking.forget_sessions()
    _sweep(artifacts, say)
    return done


def check(artifacts: Artifacts, *, deep: bool, say: Say) -> int:
    """Name every stored content that is missing, damaged or nobody's. Returns how many. Raises Refused."""
    finding_count = 0
    for answer in artifacts.check_objects(deep=deep):
        if answer.HasField("finding"):
            finding_count += 1
            say(_described(answer.finding))
        else:
            say(f"{counted(answer.object_count, 'object')} compared, {counted(answer.byte_count, 'byte')}.")
    return finding_count


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, as in `2 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _purgeable(tracking: Tracking, deleted_before_ms: int) -> Iterator[tuple[str, Purgeable]]:
    for kind, noun in _NOUNS.items():
        for resource in tracking.purgeable(kind, deleted_before_ms):
            yield noun, resource


def _is_left(resource: Purgeable, abandoned: Collection[Location], done: Collected) -> bool:
    """Return whether the artifacts are at a place that is given up."""
    location = Location.parse(resource.artifact_uri)
    is_left = location is not None and any(location.below(place) is not None for place in abandoned)
    if is_left:
        done.left[_store(resource.artifact_uri)] += 1
    return is_left


def _delete_artifacts(artifacts: Artifacts, resource: Purgeable, done: Collected, say: Say) -> bool:
    """Return whether no artifacts are left."""
    if not resource.artifact_uri:
        return True
    for _ in range(_CALLS_A_TREE_MAX):
        try:
            done.file_count += artifacts.delete_tree(resource.artifact_uri)
        except Refused as error:
            if error.code is grpc.StatusCode.DEADLINE_EXCEEDED:
                continue
            say(f"{_NOUNS[resource.kind].capitalize()} {resource.id} stays, for its artifacts do: {error}")
            break
        return True
    done.kept[_store(resource.artifact_uri)] += 1
    return False


def _sweep(artifacts: Artifacts, say: Say) -> None:
    """Let space be freed that may be by now; the artifact service goes on with that anyway."""
    try:
        say(f"{counted(artifacts.sweep(), 'object')} removed from the object store.")
    except Refused as error:
        say(f"The object store will be cleared later: {error}")


def _described(finding: Finding) -> str:
    problem = Finding.Problem.Name(finding.problem).lower()
    return "  ".join(part for part in (problem, finding.object_key, finding.detail, *finding.paths) if part)


def _by_store(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} in {store}" for store, count in counts.items())


def _store(artifact_uri: str) -> str:
    """Return what of a URI names the store: its scheme and host or bucket."""
    parts = urlsplit(artifact_uri)
    return f"{parts.scheme}://{parts.netloc}"
