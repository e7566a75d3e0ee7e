"""`modelstead doctor`: examines a platform from outside and says what to do."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

import modelstead
from modelstead.commands import options
from modelstead.commands.doctor import findings, gateway, services, tls, writing
from modelstead.commands.doctor.findings import Finding, Level
from modelstead.commands.doctor.gateway import NotThere
from modelstead.commands.doctor.wire import Wire
from modelstead.commands.output import end, told
from modelstead.commands.rest import Rest
from modelstead.commands.screens.screen import Screen
from modelstead.commands.settings import Target, target

_MARKS = {
    Level.OK: ("ok", "green"),
    Level.SKIPPED: ("skipped", "dim"),
    Level.WARNING: ("warning", "yellow"),
    Level.PROBLEM: ("problem", "bold red"),
}
_MARK_WIDTH = 9
_CHECK_WIDTH = 14


def doctor(
    write: Annotated[bool, typer.Option("--write", help="Also write, read and delete a run and a file.")] = False,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Examine a platform from outside: what is wrong, why it matters, what to do.

    Ends with 0 unless there is a problem; warnings are none. Nothing is changed without --write.
    """
    with told(as_json=as_json) as output:
        where = target(uri, token_file)
        found = list(_examined(where, write=write))
        result = {"url": where.url, "client_version": modelstead.__version__, "findings": _documents(found)}
        output.draw(result, lambda screen: _draw(screen, found))
    end(findings.exit_code(found))


def _examined(where: Target, *, write: bool) -> Iterator[Finding]:
    # It loads gRPC, which no other command that looks pays for.
    from modelstead.commands.doctor import grpc_port

    yield from tls.examine(where)
    wire, rest = Wire(where), Rest(where, tries=1)
    try:
        there, published = gateway.find(wire)
        yield there
        yield from gateway.examine(wire)
    except NotThere as error:
        yield error.finding
        return
    yield from services.examine(rest)
    yield from grpc_port.examine(where, published)
    if write:
        yield from writing.examine(rest, wire)


def _documents(found: list[Finding]) -> list[dict[str, Any]]:
    return [finding.document() for finding in found]


def _draw(screen: Screen, found: list[Finding]) -> None:
    indent = " " * (_MARK_WIDTH + _CHECK_WIDTH)
    for finding in found:
        mark, style = _MARKS[finding.level]
        screen.line((mark.ljust(_MARK_WIDTH), style), (finding.check.ljust(_CHECK_WIDTH), "bold"), (finding.seen, ""))
        for text in filter(None, (finding.why, finding.fix and f"→ {finding.fix}")):
            screen.line((indent, ""), (text, ""))
