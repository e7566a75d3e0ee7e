"""A round trip: a run and a file are written, read and deleted."""

import contextlib
import time
import uuid
from collections.abc import Iterator

from modelstead.commands.doctor import findings
from modelstead.commands.doctor.findings import Finding
from modelstead.commands.doctor.wire import Reply, Wire
from modelstead.commands.exits import CommandError, Exit, of_answer
from modelstead.commands.rest import Json, Rest, RestError

_METRIC = "doctor"
_CONTENTS = b"written by modelstead doctor\n" * 1000
_PROXIED = "mlflow-artifacts:/"
_FILES = "/api/2.0/mlflow-artifacts/artifacts/"


def examine(rest: Rest, wire: Wire) -> Iterator[Finding]:
    """Write, read and delete in the default experiment; what could be written is deleted also if reading fails."""
    began_s = time.monotonic()
    try:
        run = rest.post("runs/create", _new_run(), may_repeat=False)["run"]
    except RestError as error:
        yield _failed("a run", "created", error)
        return
    run_id, root = run["info"]["run_id"], run["info"].get("artifact_uri", "")
    try:
        yield from _written(rest, run_id, began_s)
        yield from _file(wire, root)
    finally:
        with contextlib.suppress(CommandError):
            rest.post("runs/delete", {"run_id": run_id}, may_repeat=True)


def _new_run() -> Json:
    name = f"modelstead doctor {uuid.uuid4().hex[:8]}"
    return {"experiment_id": "0", "run_name": name, "start_time": time.time_ns() // 1_000_000}


def _written(rest: Rest, run_id: str, began_s: float) -> Iterator[Finding]:
    value = time.time()
    try:
        point = {"run_id": run_id, "key": _METRIC, "value": value, "timestamp": int(1000 * value), "step": 1}
        rest.post("runs/log-metric", point, may_repeat=True)
        read = rest.get("runs/get", {"run_id": run_id})["run"]["data"].get("metrics", [])
        rest.post("runs/update", {"run_id": run_id, "status": "FINISHED"}, may_repeat=True)
    except RestError as error:
        yield _failed("a run", "written", error)
        return
    if [metric["value"] for metric in read if metric["key"] == _METRIC] != [value]:
        why = "What was acknowledged is not there."
        fix = "Do all replicas of tracking work on one database, and does none read from a standby?"
        yield findings.problem("a run", f"of {run_id}, what was logged is not what is read", why=why, fix=fix)
        return
    yield findings.ok("a run", f"was written, read and deleted in {1000 * (time.monotonic() - began_s):.0f} ms")


def _file(wire: Wire, root: str) -> Iterator[Finding]:
    if not root.startswith(_PROXIED):
        yield findings.skipped("a file", f"runs keep their files at {root.partition('://')[0]}://, not at the platform")
        return
    path = f"{_FILES}{root.removeprefix(_PROXIED).strip('/')}/doctor-{uuid.uuid4().hex}.txt"
    began_s = time.monotonic()
    try:
        for method, body in (("PUT", _CONTENTS), ("GET", None), ("DELETE", None)):
            reply = wire.send(method, path, body)
            if reply.status != 200:
                yield _refused(method, reply)
                return
            if method == "GET" and reply.body != _CONTENTS:
                why = "It is not there, or something between changes it."
                yield findings.problem(
                    "a file", "what is read is not what was written", why=why, fix="See `modelstead fsck`."
                )
                return
    except OSError as error:
        why, fix = "Files cannot be kept.", "Something between breaks off larger bodies: look at its limits."
        yield findings.problem("a file", f"the connection broke: {error}", why=why, fix=fix, code=Exit.UNAVAILABLE)
        return
    yield findings.ok("a file", f"was written, read and deleted in {1000 * (time.monotonic() - began_s):.0f} ms")


def _refused(method: str, reply: Reply) -> Finding:
    seen = f"{method} is answered with {reply.status}: {reply.body[:200].decode(errors='replace')}"
    fix = "Raise the limit of bodies in what is between." if reply.status == 413 else "See `object store` above."
    return findings.problem("a file", seen, why="Files cannot be kept.", fix=fix, code=of_answer(reply.status, ""))


def _failed(what: str, done: str, error: RestError) -> Finding:
    fix = 'The service\'s log has the request, and docs/operations.md, "When an alert fires", what to do.'
    if error.code is Exit.REFUSED:
        fix = "Call with a key that may write, or leave --write out."
    why = "Training cannot log."
    return findings.problem(what, f"cannot be {done}: {error.message}", why=why, fix=fix, code=error.code)
