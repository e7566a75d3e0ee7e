"""What can be done with releases: one public method is one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.common.auth import Caller
from services.common.database import Database, Driver
from services.common.errors import ACCESS_DENIED, PermissionDenied
from services.registry import rules
from services.registry.events.model import By, Subject
from services.registry.model_versions import store as versions_store
from services.registry.model_versions.model import ModelVersion, not_found
from services.registry.permissions import service as permissions
from services.registry.permissions.model import Level
from services.registry.promotions import store as promotions_store
from services.registry.registered_models import store as models_store
from services.registry.releases import model
from services.registry.releases.model import ReleaseMove
from services.registry.transitions import service as transitions
from services.registry.transitions.model import Wish


@dataclass(frozen=True, kw_only=True, slots=True)
class Releases:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch."""

    db: Database
    now_ms: Callable[[], int]

    async def create(self, moves: Sequence[ReleaseMove], *, comment: str, caller: Caller) -> list[ModelVersion]:
        """Make all moves in their order, or none. Raises NotFound, InvalidArgument, Conflict, PermissionDenied."""
        model.check_moves(moves)
        for move in moves:
            rules.check_name(move.name)
            rules.parse_version(move.version)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await models_store.hold_all(tx, sorted({move.name for move in moves}))
            await _check_may_edit(tx, held, caller)
            refusals = []
            for move in moves:
                try:
                    await _make(tx, held, move, comment=comment, by=by)
                except PermissionDenied as refusal:
                    # Nothing is written before a refusal, so the others can tell what they lack as well.
                    refusals.append(refusal.message)
            if refusals:
                raise PermissionDenied(" ".join(dict.fromkeys(refusals)))
            return [await _version(tx, held, move) for move in moves]


async def _make(tx: Driver, held: Mapping[str, Subject], move: ReleaseMove, *, comment: str, by: By) -> None:
    number = rules.parse_version(move.version)
    subject = held.get(move.name)
    if subject is None:
        raise not_found(move.name, number)
    policy = await promotions_store.policy_of(tx, subject)
    wish = Wish.of(policy, move.stage, archive=move.archive_existing_versions, expected=move.expected, comment=comment)
    await transitions.make(tx, subject, number, wish, by=by)


async def _check_may_edit(tx: Driver, held: Mapping[str, Subject], caller: Caller) -> None:
    for subject in held.values():
        if await permissions.level_of(tx, subject, caller) < Level.EDIT:
            raise PermissionDenied(ACCESS_DENIED)


async def _version(tx: Driver, held: Mapping[str, Subject], move: ReleaseMove) -> ModelVersion:
    version = await versions_store.get_of(tx, held[move.name], rules.parse_version(move.version))
    assert version is not None, "a version that moved is there"
    return version
