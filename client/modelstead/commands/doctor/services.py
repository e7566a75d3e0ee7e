"""The services, by what they tell of themselves: whether they answer, what they run, what waits for too long."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from modelstead.commands.doctor import findings
from modelstead.commands.doctor.findings import Finding
from modelstead.commands.exits import Exit
from modelstead.commands.rest import Json, Rest, RestError

SERVICES = ("tracking", "registry", "artifacts")
# Of several replicas one answers each time; so many looks see most of a few.
_LOOKS = 8
_LAG_MS_MAX = 60_000
_FILLED_MAX = 0.8
# Where counting ends.
_UPLOADS_MAX = 10_000
_OVERLOAD = 'More replicas, or a larger Postgres: docs/operations.md, "Scaling".'


def examine(rest: Rest) -> Iterator[Finding]:
    """Look at each service, and at what they have in common."""
    versions: set[str] = set()
    for service in SERVICES:
        try:
            told = _looks(rest, service)
        except RestError as error:
            yield _away(service, error)
            continue
        versions |= {_process(each, "version") for each in told}
        yield _there(service, told)
        yield from _replicas(service, told)
        yield from _of_all([list(_FIGURES[service](each)) for each in told])
    if len(versions) > 1:
        yield findings.warning(
            "versions",
            f"the services run {', '.join(sorted(versions))}",
            why="Two versions work together while an upgrade is under way; for longer nobody has tried it.",
            fix="`kubectl rollout status` of each deployment says which upgrade is stuck.",
        )


def _looks(rest: Rest, service: str) -> list[Json]:
    """Return what replicas tell, each once. Raises RestError if one does not answer."""
    with ThreadPoolExecutor(_LOOKS) as pool:
        told = list(pool.map(lambda _: rest.get(f"status/{service}", {}), range(_LOOKS)))
    return list({_process(each, "replica"): each for each in told}.values())


def _there(service: str, told: list[Json]) -> Finding:
    replicas = f"{len(told)} replica{'s' if len(told) > 1 else ''}"
    revisions = ", ".join(sorted({_process(each, "schema_revision") for each in told}))
    versions = ", ".join(sorted({_process(each, "version") for each in told}))
    return findings.ok(service, f"{replicas} answered: version {versions}, schema {revisions}")


def _away(service: str, error: RestError) -> Finding:
    if error.code is Exit.REFUSED:
        return findings.problem(
            service,
            f"it refuses to tell how it is: {error.message}",
            why="Without that nothing about it can be said.",
            fix="Call with a key that may read the platform: --token-file, or MLFLOW_TRACKING_TOKEN.",
            code=Exit.REFUSED,
        )
    if error.code is Exit.UNAVAILABLE:
        return findings.problem(
            service,
            f"it does not answer: {error.message}",
            why="What it serves fails.",
            fix=f"`kubectl get pods`, `kubectl logs deployment/{service}`: its last line names a setting, its "
            "database or a migration that is due.",
            code=Exit.UNAVAILABLE,
        )
    return findings.problem(
        service,
        f"its status cannot be read: {error.message}",
        why="The gateway does not know it, or is much older than this command.",
        fix="Upgrade the gateway, or use the command of the platform's version.",
    )


def _replicas(service: str, told: list[Json]) -> Iterator[Finding]:
    revisions = {_process(each, "schema_revision") for each in told}
    if len(revisions) > 1:
        yield findings.problem(
            service,
            f"its replicas find its schema at {', '.join(sorted(revisions))}",
            why="They work on different databases, or one reads from a standby that is behind.",
            fix="Compare MODELSTEAD_DATABASE_URL of the pods, and look at the replication of Postgres.",
        )


def _of_all(of_replicas: list[list[Finding]]) -> Iterator[Finding]:
    """Tell what each replica tells, once: what is well only where it is with all, what is not as the first has it."""
    told = set()
    for finding in (finding for found in of_replicas for finding in found):
        what = (finding.check, finding.level, finding.why)
        is_with_all = all(any(other.check == finding.check and other.is_well for other in each) for each in of_replicas)
        if what not in told and (is_with_all or not finding.is_well):
            told.add(what)
            yield finding


def _logging(told: Json) -> Iterator[Finding]:
    lag_ms, unsent_ms = _number(told, "seal_lag_ms"), _number(told, "unsent_age_ms")
    filled = _number(told, "bytes_under_way") / (_number(told, "bytes_under_way_max") or 1)
    if lag_ms > _LAG_MS_MAX:
        yield findings.warning(
            "sealing",
            f"points that came {lag_ms / 1000:.0f} s ago still wait to be made large chunks",
            why="Reading them gets slow, and the tables grow.",
            fix="Tracking's log says what it waits for; if nothing, Postgres is too slow for what is logged.",
        )
    if filled > _FILLED_MAX:
        why = "Clients are told to wait; they keep what they log on their disks."
        seen = f"{filled:.0%} of the room for batches is taken"
        yield findings.warning("ingest", seen, why=why, fix=_OVERLOAD)
    if unsent_ms > _LAG_MS_MAX:
        yield findings.warning(
            "backlog",
            f"clients have {_number(told, 'unsent_point_count'):.0f} points that wait, the oldest for "
            f"{unsent_ms / 1000:.0f} s",
            why="Whoever watches a run sees it late, and a disk that is full drops the oldest points.",
            fix=_OVERLOAD,
        )
    if lag_ms <= _LAG_MS_MAX and filled <= _FILLED_MAX and unsent_ms <= _LAG_MS_MAX:
        yield findings.ok("logging", f"sealing is {lag_ms / 1000:.0f} s behind, {filled:.0%} of the room is taken")


def _deliveries(told: Json) -> Iterator[Finding]:
    lag_ms, dead = _number(told, "delivery_lag_ms"), _number(told, "dead_delivery_count")
    if lag_ms > _LAG_MS_MAX:
        yield findings.warning(
            "webhooks",
            f"the oldest delivery has waited for {lag_ms / 1000:.0f} s",
            why="Receivers hear of changes late: one that fails holds up what follows for its model.",
            fix="The console's page of webhooks says which receiver fails, and how: docs/webhooks.md.",
        )
    if dead:
        yield findings.warning(
            "webhooks",
            f"{dead:.0f} deliveries were given up",
            why="Their receivers will not hear of those changes.",
            fix="Mend the receiver, then deliver them again from the console's page of webhooks.",
        )
    if lag_ms <= _LAG_MS_MAX and not dead:
        pending = _number(told, "pending_delivery_count")
        yield findings.ok("webhooks", f"{pending:.0f} deliveries wait, none was given up")
    if not told.get("hears_of_changes"):
        yield findings.warning(
            "lookups",
            "the registry does not hear of changes as they are committed",
            why="It reads each lookup from Postgres, and watchers hear late.",
            fix="LISTEN needs a connection of its own: not through a pooler in transaction mode.",
        )


def _objects(told: Json) -> Iterator[Finding]:
    if "object_store_answers" not in told:
        yield findings.skipped("object store", "the artifact service does not tell: it is older than this command")
    elif told["object_store_answers"]:
        yield findings.ok("object store", "it answers the artifact service")
    else:
        yield findings.problem(
            "object store",
            "it does not answer the artifact service",
            why="No file can be read or written; runs and models still can.",
            fix="From a pod: is MODELSTEAD_S3_ENDPOINT right, does its name resolve, does a NetworkPolicy let it pass?",
            code=Exit.UNAVAILABLE,
        )
    if _number(told, "pending_upload_count") >= _UPLOADS_MAX:
        why = "Clients begin uploads and do not end them; their parts take room until they are swept."
        fix = "MODELSTEAD_UPLOAD_TTL_S says after how long that is."
        yield findings.warning("uploads", f"{_UPLOADS_MAX:,} or more uploads are open", why=why, fix=fix)


# What waits at each, and for how long.
_FIGURES = {"tracking": _logging, "registry": _deliveries, "artifacts": _objects}


def _process(told: Json, field: str) -> str:
    return str(told.get("process", {}).get(field, ""))


def _number(told: Json, field: str) -> float:
    value: Any = told.get(field, 0)
    return float(value)
