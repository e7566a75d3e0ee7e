"""The gateway: whether it is there and ours, is ready, and has the same time."""

import json
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

from modelstead.commands.doctor import findings
from modelstead.commands.doctor.findings import Finding
from modelstead.commands.doctor.wire import Reply, Wire
from modelstead.commands.exits import Exit

ADDRESSES = "/api/2.0/modelstead/addresses"
# The header tells whole seconds.
_SKEW_S_MAX = 5.0


class NotThere(Exception):
    """There is no gateway of ours, so there is nothing else to look at."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.seen)
        self.finding = finding


def find(wire: Wire) -> tuple[Finding, str]:
    """Return that the gateway is there, and where it says that tracking speaks gRPC. Raises NotThere."""
    url = wire.target.url
    try:
        version, addresses = wire.send("GET", "/version"), wire.send("GET", ADDRESSES)
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise NotThere(
            findings.problem(
                "gateway",
                f"{url} does not answer: {reason}",
                why="Nothing of the platform can be reached by it.",
                fix="Is the address right, and does the gateway run? `kubectl get pods`, `kubectl get svc gateway`.",
                code=Exit.UNAVAILABLE,
            )
        ) from error
    told = _object(addresses)
    if "tracking" not in told:
        raise NotThere(
            findings.problem(
                "gateway",
                f"{url} answers {ADDRESSES} with status {addresses.status} and not as Modelstead does",
                why="Something else is at this address.",
                fix="Set --uri to the gateway's address, with the prefix at which a proxy has it.",
            )
        )
    spoken = version.body.decode(errors="replace")[:40]
    seen = f"{url} answers in {1000 * (version.answered_s - version.asked_s):.0f} ms, and speaks MLflow {spoken}"
    return findings.ok("gateway", seen), str(told["tracking"])


def examine(wire: Wire) -> Iterator[Finding]:
    """Look whether the gateway is ready, and how late it is there."""
    try:
        reply = wire.send("GET", "/health")
    except OSError as error:
        yield findings.problem(
            "ready",
            f"/health does not answer: {getattr(error, 'reason', None) or error}",
            why="Load balancers take such a gateway out.",
            fix="Is the gateway overloaded, or restarted again and again? `kubectl logs deployment/gateway`.",
            code=Exit.UNAVAILABLE,
        )
        yield findings.skipped("clock", "there is no answer")
        return
    if reply.status == 200:
        yield findings.ok("ready", "every service is ready")
    else:
        yield findings.problem(
            "ready",
            f"/health says {reply.status}: {reply.body.decode(errors='replace')[:200].strip()}",
            why="A service is away, or waits for its database or a migration; calls of the others are answered.",
            fix="What is found below says which; its log says why: `kubectl logs deployment/NAME`.",
            code=Exit.UNAVAILABLE,
        )
    yield _clock(reply)


def _clock(reply: Reply) -> Finding:
    try:
        theirs_s = parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return findings.skipped("clock", "the answer has no date")
    ahead_s = max(theirs_s - reply.answered_s, 0.0) or min(theirs_s + 1 - reply.asked_s, 0.0)
    if abs(ahead_s) <= _SKEW_S_MAX:
        return findings.ok("clock", f"the gateway's and this machine's differ by {abs(ahead_s):.0f} s or less")
    return findings.warning(
        "clock",
        f"the gateway's is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's",
        why="Signed URLs are refused, points are shown at wrong times, sessions end too soon.",
        fix="Have chrony or systemd-timesyncd run on both: `timedatectl status`.",
    )


def _object(reply: Reply) -> dict[str, object]:
    try:
        told = json.loads(reply.body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
