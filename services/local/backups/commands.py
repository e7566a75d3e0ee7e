"""`modelstead backup` and `modelstead restore`: options in, one sentence out if it fails."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from services.local import commands
from services.local.commands import (
    DatabaseUrlOption,
    DataDirOption,
    S3AccessKeyOption,
    S3BucketOption,
    S3EndpointOption,
    S3SecretKeyOption,
    explained,
    say,
)
from services.local.errors import LocalError

_DATA_DIR = Path(".modelstead")
_EXPECTED = "expected a time with its zone, such as 2026-11-27T19:40:00Z."


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(_EXPECTED) from error
    if moment.tzinfo is None:
        raise typer.BadParameter(_EXPECTED)
    return moment


@contextmanager
def _explaining(folder: Path) -> Iterator[None]:
    """Tell of a disk that is full or fails in a sentence, whoever met it."""
    try:
        yield
    except shutil.Error as error:
        # It lists all files that could not be copied, each as source, target and reason.
        raise LocalError(f"{folder} cannot be read or written: {error.args[0][0][2]}.") from error
    except OSError as error:
        raise LocalError(f"{error.filename or folder} cannot be read or written: {error.strerror or error}.") from error


BackupsArgument = Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Folder of the backups.")]
OnlyObjectsOption = Annotated[
    bool, typer.Option("--only-objects", help="Leave the database out: where others care for it, as an operator does.")
]


def backup(
    directory: BackupsArgument,
    *,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on until Ctrl-C, so that any moment since can be restored."),
    ] = False,
    keep: Annotated[int, typer.Option(min=1, help="How many base backups are kept.")] = 2,
    only_objects: OnlyObjectsOption = False,
    data_dir: DataDirOption = _DATA_DIR,
    database_url: DatabaseUrlOption = None,
    s3_endpoint: S3EndpointOption = None,
    s3_bucket: S3BucketOption = None,
    s3_access_key_file: S3AccessKeyOption = None,
    s3_secret_key_file: S3SecretKeyOption = None,
) -> None:
    """Back up the platform while it runs: the database, then the contents of artifacts."""
    if follow and only_objects:
        raise typer.BadParameter("--follow follows the database, which --only-objects leaves out.")
    s3 = commands.s3_settings(s3_endpoint, s3_bucket, s3_access_key_file, s3_secret_key_file)
    url = commands.postgres_url(database_url)

    def take() -> None:
        from services.local.backups import source
        from services.local.backups.folder import BackupFolder
        from services.local.backups.taking import Taking
        from services.local.signals import Signals, StopRequested

        postgres = None if only_objects else source.Postgres.parse(url) if url else source.embedded_postgres(data_dir)
        bucket = source.Bucket.of(s3) if s3 else source.embedded_bucket(data_dir)
        folder = BackupFolder.made(directory)
        with _explaining(directory), folder.held(), Signals() as signals:
            if key := source.webhook_key(data_dir):
                folder.keep_webhook_key(key)
            taking = Taking(folder=folder, postgres=postgres, bucket=bucket, keep=keep, say=say, pause=signals.pause)
            try:
                taking.follow() if follow else taking.once()
            except StopRequested:
                if not follow:
                    raise LocalError("Interrupted: this backup is not complete, those before it are.") from None

    explained(take)


def restore(
    directory: BackupsArgument,
    *,
    data_dir: Annotated[
        Path, typer.Option(file_okay=False, help="New folder that the platform is restored into.")
    ] = _DATA_DIR,
    to: Annotated[
        datetime | None,
        typer.Option(parser=_moment, metavar="TIME", help="Restore what was committed until then. Default: all."),
    ] = None,
    only_objects: OnlyObjectsOption = False,
    s3_endpoint: S3EndpointOption = None,
    s3_bucket: S3BucketOption = None,
    s3_access_key_file: S3AccessKeyOption = None,
    s3_secret_key_file: S3SecretKeyOption = None,
) -> None:
    """Restore a backup into a new data folder, or its contents into a bucket."""
    s3 = commands.s3_settings(s3_endpoint, s3_bucket, s3_access_key_file, s3_secret_key_file)
    if only_objects is not bool(s3):
        raise typer.BadParameter("--only-objects and --s3-endpoint go together: contents into a bucket of yours.")

    def restore_all() -> None:
        from services.local.backups import objects, source
        from services.local.backups.folder import BackupFolder
        from services.local.backups.restoring import Restoring
        from services.local.data_dir import DataDir
        from services.local.signals import Signals, StopRequested

        folder = BackupFolder(directory)
        if s3:
            copied = objects.copy_in(folder.objects, source.Bucket.of(s3))
            say(f"Objects: {copied.count:,} of {copied.total:,} restored.")
            return
        with _explaining(data_dir), Signals() as signals, DataDir(data_dir) as opened:
            try:
                Restoring(folder=folder, data_dir=opened, say=say, pause=signals.pause).run(to)
            except StopRequested:
                raise LocalError("Interrupted: run it again, it begins anew.") from None
        say(f"Restored. `modelstead up --data-dir {data_dir}` runs it, and then `modelstead fsck` checks its contents.")

    explained(restore_all)
