"""The stores of artifacts elsewhere that the operator allows: read from a file, and asked whether a URI is in one.

Tracking asks when an experiment is created, the artifact service when it reaches files; neither has a list of its own.
Nothing here connects to a store: services/artifacts/external does.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common.settings import SettingsError, variable

# Artifacts that the platform keeps itself, always allowed.
MANAGED_SCHEME = "mlflow-artifacts"
Segments = tuple[str, ...]

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):(//(?P<authority>[^/]*))?(?P<path>/.*)?", re.DOTALL)
_HOST = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?"
_AUTHORITY = re.compile(_HOST)
# Azure's own form of a URI has the container where others have a user.
_AZURE_AUTHORITY = re.compile(rf"[a-z0-9-]+@{_HOST}")
# A query and a fragment are no part of a place, and a percent sign would mean one character here and another there.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\%?#]")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VARIABLE = variable("artifact_stores")


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """A parsed artifact URI; `authority` is the host, bucket or container, empty for folders of this machine."""

    scheme: str
    authority: str
    segments: Segments

    @classmethod
    def parse(cls, uri: str) -> "Location | None":
        """Return what a URI, or the absolute path of a folder here, names; None if that could be taken in two ways."""
        if _FORBIDDEN.search(uri):
            return None
        match = _URI.fullmatch("file:" + uri if uri.startswith("/") else uri)
        if match is None:
            return None
        scheme, authority = match["scheme"].lower(), match["authority"] or ""
        segments = tuple((match["path"] or "/").removeprefix("/").removesuffix("/").split("/"))
        if segments == ("",):
            segments = ()
        if not _is_authority(scheme, authority) or any(segment in ("", ".", "..") for segment in segments):
            return None
        if not authority and match["path"] is None:
            return None
        return cls(scheme=scheme, authority=authority, segments=segments)

    def below(self, root: "Location") -> Segments | None:
        """Return the path from `root` to this place, empty if they are one; None if it is elsewhere."""
        depth = len(root.segments)
        if (self.scheme, self.authority, self.segments[:depth]) != (root.scheme, root.authority, root.segments):
            return None
        return self.segments[depth:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """The options of stores of one scheme beside `root`; those that end in `_file` name files with credentials."""

    optional: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()
    # Whether a root must be narrower than all that the authority holds.
    needs_path: bool = False


_AZURE = Kind(optional=frozenset({"account_key_file", "sas_token_file", "endpoint_url"}))
KINDS: Mapping[str, Kind] = {
    "file": Kind(needs_path=True),
    "sftp": Kind(
        required=frozenset({"user", "known_hosts_file"}),
        optional=frozenset({"key_file", "key_passphrase_file", "password_file"}),
        needs_path=True,
    ),
    "s3": Kind(optional=frozenset({"endpoint_url", "region", "access_key_file", "secret_key_file"})),
    "gs": Kind(optional=frozenset({"endpoint_url", "service_account_file"})),
    "abfss": _AZURE,
    "wasbs": _AZURE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """An allowed store: everything at or below `root`. `source` is the file that says so."""

    name: str
    root: Location
    options: Mapping[str, str] = field(default_factory=dict)
    source: Path

    def file(self, option: str) -> Path | None:
        """Return the path that an option names, taken from the folder of `source`; None if it is not set."""
        value = self.options.get(option)
        return None if value is None else self.source.parent / value

    def secret(self, option: str) -> str | None:
        """Return what stands in the file that an option names; None if it is not set. Raises SettingsError."""
        path = self.file(option)
        if path is None:
            return None
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self.error(option, f"cannot read {path}") from error

    def error(self, option: str, problem: str) -> SettingsError:
        """Return an error that names the file, the store and the option."""
        return _error(self.source, self.name, option, problem)


@dataclass(frozen=True, slots=True)
class Stores:
    """All allowed stores."""

    stores: tuple[Store, ...] = ()

    def find(self, uri: str) -> tuple[Store, Segments] | None:
        """Return the store that a URI lies in, of nested ones the innermost, and the path below its root.

        None if no store is allowed there, or if the URI is not plain: it has a user, a query, a fragment, a percent
        sign, a backslash, or segments that are empty, `.` or `..`.
        """
        location = Location.parse(uri)
        if location is None:
            return None
        found = ((store, location.below(store.root)) for store in self.stores)
        inside = [(store, path) for store, path in found if path is not None]
        return min(inside, key=lambda each: len(each[1]), default=None)

    def allow(self, uri: str) -> bool:
        """Whether a URI lies in the platform's own artifacts or in an allowed store."""
        return managed_path(uri) is not None or self.find(uri) is not None


NO_STORES = Stores()


def managed_path(uri: str) -> Segments | None:
    """Return the path of `mlflow-artifacts:/…`; None for another scheme, for one that names a host or is not plain."""
    location = Location.parse(uri)
    if location is None or location.scheme != MANAGED_SCHEME or location.authority:
        return None
    return location.segments


def load(path: Path | None) -> Stores:
    """Read the operator's file; without one no store is allowed. Raises SettingsError."""
    if path is None:
        return NO_STORES
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{_VARIABLE}: cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}.") from error
    tables = document.pop("stores", {})
    if document or not isinstance(tables, dict):
        raise SettingsError(f"{path}: expected nothing but tables [stores.<name>], each with a root.")
    return Stores(_distinct([_store(path, name, table) for name, table in tables.items()]))


def _store(source: Path, name: str, table: Any) -> Store:
    if not _NAME.fullmatch(name) or not isinstance(table, dict):
        raise SettingsError(f"{source}: [stores.{name}]: expected a table named in small letters, digits and dashes.")
    for option, value in table.items():
        if not isinstance(value, str) or not value:
            raise _error(source, name, option, "expected a text that is not empty")
    root = _root(source, name, table.get("root", ""))
    kind = KINDS[root.scheme]
    known = kind.required | kind.optional
    for option in table.keys() - known - {"root"}:
        options = ", ".join(sorted(known)) or "none"
        raise _error(source, name, option, f"not an option of {root.scheme} stores; those are: {options}")
    for option in sorted(kind.required - table.keys()):
        raise _error(source, name, option, f"not set, but {root.scheme} stores need it")
    return Store(name=name, root=root, options={key: table[key] for key in known & table.keys()}, source=source)


def _root(source: Path, name: str, uri: str) -> Location:
    root = Location.parse(uri)
    if root is None or root.scheme not in KINDS:
        raise _error(source, name, "root", f"expected a plain URI with one of the schemes {', '.join(sorted(KINDS))}")
    if (root.scheme == "file") is bool(root.authority):
        raise _error(source, name, "root", "a file root has three slashes and no host, any other names one after two")
    if KINDS[root.scheme].needs_path and not root.segments:
        raise _error(source, name, "root", "expected a folder, not all that the machine has")
    return root


def _distinct(stores: Iterable[Store]) -> tuple[Store, ...]:
    names: dict[Location, str] = {}
    for store in stores:
        if store.root in names:
            raise store.error("root", f"also the root of the store {names[store.root]}")
        names[store.root] = store.name
    return tuple(stores)


def _is_authority(scheme: str, authority: str) -> bool:
    if not authority:
        return True
    pattern = _AZURE_AUTHORITY if KINDS.get(scheme) is _AZURE else _AUTHORITY
    return pattern.fullmatch(authority) is not None


def _error(source: Path, name: str, option: str, problem: str) -> SettingsError:
    return SettingsError(f"{source}: [stores.{name}] {option}: {problem}.")
