"""`modelstead gc` and `modelstead fsck`: what an operator runs now and then, on a platform wherever it is."""

import re
from pathlib import Path
from typing import Annotated

import typer

from services.common.artifact_stores import MANAGED_SCHEME, Location
from services.common.clock import now_ms
from services.common.settings import Address
from services.local.commands import explained, file_option, say
from services.local.errors import LocalError

_AGE = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,7})m)?(?:(\d{1,8})s)?")
_SECONDS = (24 * 3600, 3600, 60, 1)


def _address(text: str | Address) -> Address:
    # Typer parses defaults as well.
    if isinstance(text, Address):
        return text
    try:
        return Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from error


def _age_s(text: str) -> int:
    match = _AGE.fullmatch(text)
    if not text or match is None:
        raise typer.BadParameter("expected a time such as 30d, 12h or 1d12h.")
    return sum(int(number or 0) * seconds for number, seconds in zip(match.groups(), _SECONDS, strict=True))


def _place(text: str) -> Location:
    location = Location.parse(text)
    if location is None or location.scheme == MANAGED_SCHEME:
        raise typer.BadParameter("expected a plain URI elsewhere, such as sftp://host, s3://bucket/a or file:///mnt/a.")
    return location


TrackingOption = Annotated[
    Address,
    typer.Option(
        parser=_address, metavar="HOST:PORT", envvar="MODELSTEAD_TRACKING_ADDRESS", help="The tracking service."
    ),
]
ArtifactsOption = Annotated[
    Address,
    typer.Option(
        parser=_address, metavar="HOST:PORT", envvar="MODELSTEAD_ARTIFACTS_ADDRESS", help="The artifact service."
    ),
]
RegistryOption = Annotated[
    Address,
    typer.Option(
        parser=_address, metavar="HOST:PORT", envvar="MODELSTEAD_REGISTRY_ADDRESS", help="The registry service."
    ),
]
AbandonOption = Annotated[
    list[Location] | None,
    typer.Option(
        metavar="URI",
        parser=_place,
        help="Leave the artifacts at or below a place that cannot be reached any more, such as sftp://host, and purge "
        "what has them all the same. May be given several times.",
    ),
]
TokenFileOption = Annotated[
    Path | None, file_option("MODELSTEAD_TOKEN_FILE", "File with your API key, where the platform demands one.")
]
_TRACKING = Address("127.0.0.1", 8081)
_ARTIFACTS = Address("127.0.0.1", 8082)
_REGISTRY = Address("127.0.0.1", 8083)


def gc(
    *,
    older_than: Annotated[
        int, typer.Option(parser=_age_s, metavar="AGE", help="How long ago it was deleted: 30d, 12h, 1d12h.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be purged.")] = False,
    tracking: TrackingOption = _TRACKING,
    abandon: AbandonOption = None,
    artifacts: ArtifactsOption = _ARTIFACTS,
    registry: RegistryOption = _REGISTRY,
    token_file: TokenFileOption = None,
) -> None:
    """Purge runs, logged models and experiments that were deleted long ago, with their artifacts, for good."""
    # gRPC costs 15 MB, which the launcher, that loads every sub-command, does not pay.
    from services.local import peers, upkeep

    deleted_before_ms = now_ms() - older_than * 1000

    def preview() -> None:
        with peers.tracking(tracking, token_file=token_file) as retention:
            found = upkeep.preview(retention, deleted_before_ms=deleted_before_ms, say=say)
        say(f"Would purge {upkeep.Collected(purged=found).resources}.")

    def collect() -> None:
        with (
            peers.tracking(tracking, token_file=token_file) as retention,
            peers.artifacts(artifacts, token_file=token_file) as maintenance,
            peers.registry(registry, token_file=token_file) as versions,
        ):
            done = upkeep.collect(
                retention, maintenance, deleted_before_ms=deleted_before_ms, abandoned=abandon or (), say=say
            )
            versions.forget_request_ids()
            secrets = versions.reseal_webhook_secrets()
        if done.left:
            say(f"Left where they are, the artifacts of: {done.abandonments}.")
        if secrets.resealed_count:
            say(f"Sealed under the newest key, the secrets of {upkeep.counted(secrets.resealed_count, 'webhook')}.")
        if secrets.unreadable_count:
            say(f"No key opens the secrets of {upkeep.counted(secrets.unreadable_count, 'webhook')}.")
        say(f"Purged {done.resources} with {upkeep.counted(done.file_count, 'file')}.")
        if done.kept:
            raise LocalError(f"Not purged, because their artifacts could not be deleted: {done.reasons}.")

    explained(preview if dry_run else collect)


def fsck(
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read and hash every object; else only existence and size are compared.")
    ] = False,
    artifacts: ArtifactsOption = _ARTIFACTS,
    token_file: TokenFileOption = None,
) -> None:
    """Compare what is recorded of artifacts with what the object store has. Exits 1 if something does not fit."""
    from services.local import peers, upkeep

    def check() -> None:
        with peers.artifacts(artifacts, token_file=token_file) as maintenance:
            finding_count = upkeep.check(maintenance, deep=deep, say=say)
        if finding_count:
            raise LocalError(f"Not sound: {upkeep.counted(finding_count, 'finding')}.")

    explained(check)
