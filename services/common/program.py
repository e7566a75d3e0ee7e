"""The life of a service's process that keeps tables: its settings, its migrations, then serving, then an exit code."""

import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

import uvloop
from google.protobuf.descriptor import ServiceDescriptor

from services.common import logs, settings, telemetry, tracing
from services.common.errors import ServiceError
from services.common.logs import LogFormat, LogLevel
from services.common.prefork import launch
from services.common.readiness import newest_revision
from services.common.secret_files import Secret
from services.common.settings import Address, SettingsError


class ProgramSettings(Protocol):
    """What every service that keeps tables is told."""

    @property
    def database_url(self) -> Secret: ...
    @property
    def migrate_on_start(self) -> bool: ...
    @property
    def log_format(self) -> LogFormat: ...
    @property
    def log_level(self) -> LogLevel: ...
    @property
    def otlp_endpoint(self) -> str: ...
    @property
    def metrics_listen(self) -> Address | None: ...
    @property
    def listen(self) -> Address: ...
    @property
    def workers(self) -> int: ...
    @property
    def worker(self) -> int | None: ...


SettingsT = TypeVar("SettingsT", bound=ProgramSettings)


def run(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    schema: str,
    migrations: Path,
    settings_class: type[SettingsT],
    serve: Callable[[SettingsT], Coroutine[Any, Any, None]],
) -> None:
    """Serve or, given `migrate`, bring the schema up to date and end. The service is called as its schema.

    `migrate --to 0003` goes as far as that revision, and `migrate --check` only says whether there is something to do.

    With several workers it migrates and then becomes their parent; `prefork.launch` tells more.

    Exits 2 with one sentence for a wrong setting or argument, 1 for a migration that failed or is due.
    """
    try:
        migration = _migration_of(arguments, migrations)
        config = settings.load(settings_class, environ)
        logs.configure(log_format=config.log_format, log_level=config.log_level, context=tracing.current_ids)
        if migration is not None:
            _migrate(config.database_url.lines()[0], schema, migrations, migration)
            return
        if config.migrate_on_start:
            newest = _Migration(newest_revision(migrations))
            _in_child(lambda: _migrate(config.database_url.lines()[0], schema, migrations, newest), schema)
        if launch.becomes_parent(config):
            launch.become_parent(config, f"services.{schema}", environ=environ)
        telemetry.start(schema, otlp_endpoint=config.otlp_endpoint, metrics_listen=config.metrics_listen)
        uvloop.run(serve(config))
    except SettingsError as error:
        sys.exit(_complain(schema, str(error), code=2))
    except ServiceError as error:
        sys.exit(_complain(schema, error.message, code=1))


def descriptor(module: ModuleType, name: str) -> ServiceDescriptor:
    """Return a service of a module of stubs, such as `runs_pb2`."""
    service: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return service


@dataclass(frozen=True, slots=True)
class _Migration:
    """What is to be done: to come to a revision, or to look whether the schema has."""

    to: str
    only_check: bool = False


def _migration_of(arguments: Sequence[str], scripts: Path) -> _Migration | None:
    """Read the command line; without arguments there is nothing to migrate. Raises SettingsError."""
    newest = newest_revision(scripts)
    match arguments:
        case []:
            return None
        case ["migrate"]:
            return _Migration(newest)
        case ["migrate", "--check"]:
            return _Migration(newest, only_check=True)
        case ["migrate", "--to", revision] if revision.isdecimal() and revision <= newest:
            return _Migration(revision)
    raise SettingsError(
        f"{' '.join(arguments)} is not known: expected nothing, `migrate`, `migrate --check` or "
        f"`migrate --to REVISION`, of which the newest is {newest}."
    )


def _migrate(database_url: str, schema: str, scripts: Path, migration: _Migration) -> None:
    # Alembic takes memory and time, which only a process that migrates pays.
    from services.common import migrations

    if migration.only_check:
        current = migrations.current(database_url, schema=schema)
        if current is None or current < migration.to:
            raise ServiceError(f"The schema is at {current or 'nothing'}, and this release needs {migration.to}.")
        print(f"{schema}: the schema is at {current}, and this release needs {migration.to}.")
    else:
        migrations.upgrade(database_url, schema=schema, scripts=scripts, to=migration.to)


def _in_child(work: Callable[[], None], name: str) -> None:
    """Do something in a process of its own, so that what it takes is given back, and end as it does if it fails."""
    pid = os.fork()
    if pid == 0:
        os._exit(_exit_code(work, name))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        # Negative: the signal that ended it, of which it could not complain itself.
        sys.exit(code if code > 0 else _complain(name, f"the migration was ended by signal {-code}.", code=1))


def _exit_code(work: Callable[[], None], name: str) -> int:
    try:
        work()
    except ServiceError as error:
        return _complain(name, error.message, code=1)
    except BaseException:  # noqa: BLE001 -- the boundary of the process
        sys.excepthook(*sys.exc_info())
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _complain(name: str, sentence: str, *, code: int) -> int:
    print(f"{name}: {sentence}", file=sys.stderr)
    return code
