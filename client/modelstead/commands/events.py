"""Server-sent events of the platform (https://html.spec.whatwg.org, 9.2), over as many connections as it takes."""

import http.client
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.rest import Json, Rest, RestError

_LAST_EVENT_ID = "Last-Event-ID"
_PAUSE_FIRST_S, _PAUSE_MAX_S = 1.0, 10.0
# A platform that is away for longer is given up.
_AWAY_MAX_S = 600.0
_LINE_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Event:
    """What came: an event of a kind, or, without a kind, only that all has been told, or why nothing comes."""

    kind: str = ""
    data: Json = field(default_factory=dict)
    id: str = ""
    away: str = ""


def follow(rest: Rest, path: str, query: Mapping[str, Any]) -> Iterator[Event]:
    """Yield events as they come, without end. Where a connection ends the next one goes on, and none is lost. Raises
    CommandError where the platform refuses, or has been away for ten minutes.
    """
    last_id, heard_s, pause_s = "", time.monotonic(), _PAUSE_FIRST_S
    while True:
        try:
            headers = {"Accept": "text/event-stream", **({_LAST_EVENT_ID: last_id} if last_id else {})}
            with rest.stream(path, query, headers) as answer:
                for event in parse(iter(lambda: answer.readline(_LINE_BYTES_MAX), b"")):
                    last_id, heard_s, pause_s = event.id or last_id, time.monotonic(), _PAUSE_FIRST_S
                    yield event
            away = "The platform ended the connection."
        except RestError as error:
            if error.code is not Exit.UNAVAILABLE:
                raise
            away = error.message
        except (OSError, http.client.HTTPException) as error:
            away = f"The connection broke: {error}"
        if time.monotonic() - heard_s > _AWAY_MAX_S:
            raise CommandError(away, Exit.UNAVAILABLE)
        yield Event(away=away)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def parse(lines: Iterable[bytes]) -> Iterator[Event]:
    """Yield the events of a stream. An event whose end is missing is none."""
    fields: dict[str, str] = {}
    for line in lines:
        text = line.decode(errors="replace").rstrip("\r\n")
        name, _, value = text.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        elif text:
            # A comment: the stream lives, and has nothing more to tell for now.
            yield Event()
        else:
            if "data" in fields:
                data = json.loads(fields["data"])
                yield Event(kind=fields.get("event", ""), data=data, id=fields.get("id", ""))
            fields = {}
