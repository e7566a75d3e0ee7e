"""How a process logs: what arguments of `start_run` and `MODELSTEAD_*` variables say. Nothing else here reads the
environment.
"""

import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from modelstead import trust
from modelstead.runs import launch
from modelstead.spool.writer import Durability, Limits, OnFull

PREFIX = "MODELSTEAD_"
SPOOL_BYTES_MIN = 1024 * 1024
_INTERVALS = ("fsync_interval_s", "flush_interval_s", "system_metrics_interval_s")
_MLFLOW_SYSTEM_METRICS = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"


class SettingsError(ValueError):
    """An argument or a variable is missing or wrong. The text names it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Each field is an argument of `start_run` and the variable `MODELSTEAD_<FIELD>`: docs/logging-from-training.md."""

    address: str
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: Path | None = None
    client_cert_file: Path | None = None
    spool_dir: Path = field(default_factory=lambda: spool_dir())
    durability: Durability = Durability.INTERVAL
    fsync_interval_s: float = 1.0
    flush_interval_s: float = 0.02
    send_interval_s: float = 0.5
    spool_bytes_max: int = 1024 * 1024 * 1024
    on_full: OnFull = OnFull.DROP_OLDEST_POINTS
    buffer_points_max: int = 500_000
    exit_timeout_s: float = 10.0
    # Which process of a distributed job this is; None for one that is not part of any.
    rank: int | None = None
    world_size: int = 1
    node: str = ""
    local_rank: int | None = None
    # What is sent is the same whichever launch it is for.
    launch_id: str = field(default="", compare=False)
    # Whether runs that begin here log what the machine does, and how often.
    system_metrics: bool = field(default=False, compare=False)
    system_metrics_interval_s: float = field(default=10.0, compare=False)

    @property
    def limits(self) -> Limits:
        """How a spool is written."""
        return Limits(
            segment_bytes=min(8 * 1024 * 1024, self.spool_bytes_max // 8),
            spool_bytes_max=self.spool_bytes_max,
            on_full=self.on_full,
            durability=self.durability,
        )

    def __post_init__(self) -> None:
        if self.buffer_points_max <= 0:
            raise SettingsError(f"buffer_points_max={self.buffer_points_max} must be greater than 0")
        for name in _INTERVALS:
            if not 0 < getattr(self, name) <= threading.TIMEOUT_MAX:
                raise SettingsError(f"{name}={getattr(self, name)} must be a number of seconds greater than 0")
        for name in ("send_interval_s", "exit_timeout_s"):
            if not 0 <= getattr(self, name) <= threading.TIMEOUT_MAX:
                raise SettingsError(f"{name}={getattr(self, name)} must be a number of seconds, and not negative")
        if self.spool_bytes_max < SPOOL_BYTES_MIN:
            raise SettingsError(f"spool_bytes_max={self.spool_bytes_max} must be at least {SPOOL_BYTES_MIN}")
        if not 1 <= self.world_size <= launch.WORLD_SIZE_MAX:
            raise SettingsError(f"world_size={self.world_size} must be 1 to {launch.WORLD_SIZE_MAX}")
        if self.rank is not None and not 0 <= self.rank < self.world_size:
            raise SettingsError(f"rank={self.rank} must be at least 0 and less than world_size={self.world_size}")
        if self.local_rank is not None and not 0 <= self.local_rank <= launch.WORLD_SIZE_MAX:
            raise SettingsError(f"local_rank={self.local_rank} must be 0 to {launch.WORLD_SIZE_MAX}")
        if len(self.node) > launch.NODE_LENGTH_MAX:
            raise SettingsError(f"node={self.node[:60]!r}… must have at most {launch.NODE_LENGTH_MAX} characters")


def load(environ: Mapping[str, str] = os.environ, **arguments: Any) -> Settings:
    """Return the settings of arguments, then of variables, then the defaults. An argument of None is not given.

    Raises SettingsError.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    values = {}
    for one in fields(Settings):
        text = environ.get(PREFIX + one.name.upper())
        if one.name in given:
            values[one.name] = _parsed(one.name, given[one.name])
        elif text:
            values[one.name] = _parsed(one.name, text)
    if not values.get("address"):
        raise SettingsError("no address: pass `address=` or set MODELSTEAD_ADDRESS, as 127.0.0.1:8081")
    values.setdefault("spool_dir", default_spool_dir(environ))
    if environ.get(_MLFLOW_SYSTEM_METRICS) and "system_metrics" not in values:
        values["system_metrics"] = _parsed("system_metrics", environ[_MLFLOW_SYSTEM_METRICS])
    return Settings(**values | _place(values, environ))


def spool_dir() -> Path:
    """Return where this user's spools are."""
    return default_spool_dir(os.environ)


def default_spool_dir(environ: Mapping[str, str]) -> Path:
    """Return `MODELSTEAD_SPOOL_DIR`, or the folder for what programs keep of the user."""
    if chosen := environ.get(f"{PREFIX}SPOOL_DIR"):
        return Path(chosen).expanduser()
    state = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "modelstead" / "spool"


def fallback_spool_dir(*, is_to_be_made: bool = True) -> Path:
    """Return, and make, where a spool goes if its folder cannot be made. Raises OSError if it is somebody else's, or
    not there and not to be made.
    """
    folder = Path(tempfile.gettempdir()) / f"modelstead-spool-{os.getuid()}"
    if is_to_be_made:
        folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise OSError(f"{folder} belongs to somebody else")
    return folder


def _place(values: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what those who launch jobs say of this one, where nothing else does. `MODELSTEAD_RANK`, set to nothing,
    says that it is not part of a job.
    """
    found: dict[str, Any] = {}
    if "rank" in values:
        found = {"node": values.get("node", launch.this_node())}
    elif f"{PREFIX}RANK" not in environ and (place := launch.place(environ)):
        found = asdict(place)
    if "launch_id" not in values:
        found["launch_id"] = launch.launch_id(environ) or ""
    return found


def _flag(value: Any) -> bool:
    """Return what MLflow's variables take for a truth value. Raises ValueError."""
    text = str(value).lower()
    if text not in ("true", "false", "1", "0"):
        raise ValueError("true, false, 1 or 0 is expected")
    return text in ("true", "1")


def _authorities(value: Any) -> Path:
    return trust.check_authorities(Path(value))


def _client_certificate(value: Any) -> Path:
    return trust.check_client_certificate(Path(value))


def _parsed(name: str, value: Any) -> Any:
    types: dict[str, Any] = {"durability": Durability, "on_full": OnFull, "spool_dir": Path}
    types |= {"system_metrics": _flag, "ca_file": _authorities, "client_cert_file": _client_certificate}
    for one in (*_INTERVALS, "send_interval_s", "exit_timeout_s"):
        types[one] = float
    for one in ("spool_bytes_max", "buffer_points_max", "rank", "world_size", "local_rank"):
        types[one] = int
    try:
        return types.get(name, str)(value)
    except (ValueError, trust.TrustError) as error:
        raise SettingsError(f"{name}={str(value)!r} is not valid: {error}") from error
