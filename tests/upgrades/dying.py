"""`python -m tests.upgrades.dying URL SCHEMA SCRIPTS`: migrates by runners, each of which kills itself a little later.

Each dies before the first statement before which none has died yet, until one comes to its end. Statements that are
sent as one text are sent one by one, and a commit counts as one. For each runner it prints a line of JSON: before what
it died, and what the schema was then.
"""

import json
import os
import re
import signal
import sys
import threading
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import event

from services.common import migrations
from tests.upgrades.schemas import catalog

# Quoted texts and comments, in which a semicolon ends nothing, or whatever else.
_TOKEN = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|\$\$.*?\$\$|;|[^;]", re.DOTALL)
# The last thing that a runner sets before it migrates.
_LAST_SETTING = "SET statement_timeout"


def statements(text: str) -> list[str]:
    """Split SQL at its semicolons."""
    parts = [""]
    for token in _TOKEN.findall(text):
        if token == ";":
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()]


@dataclass(frozen=True)
class Moment:
    """Between two statements. What comes before the migrations is the same at each revision."""

    revision: str | None
    after: str
    before: str


class Death:
    """Comes at the first moment that is not among those that were survived."""

    def __init__(self, revision: str | None, survived: set[Moment], told: int) -> None:
        self._revision = revision
        self._survived = survived
        self._told = told
        self._last = ""
        self._migrates = False
        event.listen(sqlalchemy.Engine, "before_cursor_execute", self._at_statement, retval=True)
        event.listen(sqlalchemy.Engine, "commit", self._at_commit)

    def _at_statement(self, _connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        if threading.current_thread() is not threading.main_thread():
            return statement, parameters
        *first, last = statements(statement)
        for part in first:
            self._step(part)
            cursor.execute(part)
        self._step(last)
        return last, parameters

    def _at_commit(self, _connection: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            self._step("COMMIT")

    def _step(self, statement: str) -> None:
        moment = Moment(self._revision if self._migrates else None, self._last, statement)
        if moment not in self._survived:
            os.write(self._told, json.dumps(astuple(moment)).encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self._last = statement
        self._migrates = self._migrates or statement.startswith(_LAST_SETTING)


def main(url: str, schema: str, scripts: Path) -> None:
    """Let runners die until one does not. Each finds the work of those before it."""
    survived: set[Moment] = set()
    while True:
        moment = _run(url, schema, scripts, survived)
        found = {"revision": migrations.current(url, schema=schema), "shape": catalog(url, schema).shape()}
        print(json.dumps({"before": moment and moment.before, **found}), flush=True)
        if moment is None:
            return
        survived.add(moment)


def _run(url: str, schema: str, scripts: Path, survived: set[Moment]) -> Moment | None:
    """Start one runner. Returns when it died, None if it came to its end instead."""
    revision = migrations.current(url, schema=schema)
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            Death(revision, survived, told)
            migrations.upgrade(url, schema=schema, scripts=scripts)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(told)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with os.fdopen(heard) as pipe:
        text = pipe.read()
    assert code in (0, -signal.SIGKILL), f"a runner failed with {code}"
    return Moment(*json.loads(text)) if code else None


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
