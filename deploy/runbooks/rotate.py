#!/usr/bin/env python3
"""Rotates a secret of a running platform without a failed request.

  rotate.py page-token-key SERVICE       tracking, artifacts or registry
  rotate.py session-keys                 under which browsers keep their sessions
  rotate.py webhook-secret-keys          under which the secrets of webhooks are stored
  rotate.py database-password SERVICE    of the role of the service's name
  rotate.py s3-keys                      to another pair that your S3 knows already
  rotate.py api-key NAME                 such as gc; prints nothing of it

Services read mounted files again when they change. So each step waits (--settle) until all replicas have: a kubelet
takes up to two minutes. Keys are first added, then used, then dropped; `--finish` drops the old ones for good, and what
still needs them is lost with them. So wait first: an hour for page tokens, 12 hours for sessions, and for secrets of
webhooks until a `modelstead gc` that began after the new key was used has sealed them anew. Killed at any point, run it
again; it says what is left to do. `s3-keys` stops where backups use the pair that is to go: give them another first.

Secrets are in a Kubernetes namespace (--namespace), or in folders SECRET/KEY of the same names below --folder, which
are exchanged as a whole as a kubelet does. They are never on a command line. `database-password` without --managed
needs psycopg, and Postgres within reach under the address of the URL.
"""

import argparse
import base64
import hashlib
import json
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, urlsplit, urlunsplit

_SERVICES = ("tracking", "artifacts", "registry")
_SETTLE_S = 150.0
_ALTERED_WITHIN_S = 120.0


# When nothing needs any key but the first.
_MAY_FINISH = {
    "page-token-key": "an hour after every replica uses the first key, when nobody reads pages that began before",
    "session-keys": "12 hours after every replica uses the first key: sessions last so long",
    "webhook-secret-keys": "after a `modelstead gc` that began when every replica used the first key: it seals anew "
    "what the others sealed, which without them nobody can open",
}


class Stop(Exception):
    """Something that a person has to decide or to do first."""


class Store(Protocol):
    """Where secrets are: by their name and, in each, by their key."""

    def find(self, secret: str, key: str) -> str:
        """Return a value, the empty text if there is none."""

    def put(self, secret: str, values: Mapping[str, str]) -> None:
        """Change some values of a secret, all at once."""

    def is_altered(self, service: str) -> bool:
        """Return whether an operator has given a service's role the password of its secret."""


class Folder:
    """Folders of the secrets' names, each a link to one that is never changed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def find(self, secret: str, key: str) -> str:
        file = self._path / secret / key
        return file.read_text(encoding="utf-8").strip() if file.exists() else ""

    def put(self, secret: str, values: Mapping[str, str]) -> None:
        link = self._path / secret
        old = link.resolve()
        new = self._path / f".{secret}-{secrets.token_hex(4)}"
        shutil.copytree(old, new)
        for key, value in values.items():
            (new / key).unlink(missing_ok=True)
            (new / key).touch(mode=0o600)
            (new / key).write_text(value, encoding="utf-8")
        if not link.is_symlink():
            # The first time: a folder becomes a link, which is the one moment without it.
            link.rename(old := self._path / f".{secret}-old")
        draft = self._path / f".{secret}-link"
        draft.unlink(missing_ok=True)
        draft.symlink_to(new.name)
        draft.replace(link)
        shutil.rmtree(old)

    def is_altered(self, service: str) -> bool:
        raise Stop(f"no operator reads the password of {service} in a folder: --managed wants --namespace")


class Namespace:
    """Secrets of Kubernetes, by kubectl; values go through its standard input."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find(self, secret: str, key: str) -> str:
        found = self._kubectl("get", "secret", secret, "--ignore-not-found", "--output=json")
        data = json.loads(found or "{}").get("data", {})
        return base64.b64decode(data.get(key, "")).decode().strip()

    def put(self, secret: str, values: Mapping[str, str]) -> None:
        patch = json.dumps({"stringData": dict(values)})
        self._kubectl("patch", "secret", secret, "--patch-file=/dev/stdin", told=patch)

    def is_altered(self, service: str) -> bool:
        secret = json.loads(self._kubectl("get", "secret", f"postgres-{service}", "--output=json"))
        cluster = json.loads(self._kubectl("get", "cluster", "postgres", "--output=json"))
        passwords = cluster.get("status", {}).get("managedRolesStatus", {}).get("passwordStatus", {})
        return passwords.get(service, {}).get("resourceVersion") == secret["metadata"]["resourceVersion"]

    def _kubectl(self, *words: str, told: str = "") -> str:
        command = ["kubectl", "--namespace", self._name, *words]
        done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise Stop(done.stderr.strip())
        return done.stdout


def main() -> None:
    """Do what the command line says."""
    options = _parser().parse_args()
    store: Store = Namespace(options.namespace) if options.namespace else Folder(options.folder)
    rotation = Rotation(store, settle_s=options.settle, within_s=options.within, finish=options.finish)
    try:
        if options.what == "page-token-key":
            rotation.keys(f"{_service(options.name)}-secrets", "page-token-key", separator="\n")
        elif options.what == "session-keys":
            rotation.keys("gateway-secrets", "session-keys", separator=",")
        elif options.what == "webhook-secret-keys":
            rotation.keys("registry-secrets", "webhook-secret-keys", separator=",")
        elif options.what == "database-password":
            rotation.password(_service(options.name), managed=options.managed)
        elif options.what == "s3-keys":
            rotation.s3_keys(options.access_key_file, options.secret_key_file)
        else:
            rotation.api_key(options.name or "")
    except (Stop, OSError) as error:
        sys.exit(f"rotate: {error}")


class Rotation:
    """The steps, each of which leaves all that is in use valid."""

    def __init__(self, store: Store, *, settle_s: float, within_s: float, finish: bool) -> None:
        self._store = store
        self._settle_s = settle_s
        self._within_s = within_s
        self._finish = finish

    def keys(self, secret: str, key: str, *, separator: str) -> None:
        """Rotate keys of which the first is used, and all are good for what they were used for."""
        known = [word.strip() for word in self._get(secret, key).split(separator) if word.strip()]
        if self._finish:
            # Of a rotation that was cut off before its key was used, this drops that key.
            self._put(secret, {key: known[0]}, f"{secret}/{key}: only the first key is left")
            return
        if len(known) > 1:
            raise Stop(
                f"{secret}/{key} has {len(known)} keys, of a rotation that was not ended. --finish drops all but the "
                f"first of them for good, which is safe {_MAY_FINISH[key]}. Then run this again."
            )
        new = _random()
        self._put(secret, {key: separator.join([*known, new])}, f"{secret}/{key}: every replica knows the new key")
        self._put(secret, {key: separator.join([new, *known])}, f"{secret}/{key}: every replica uses the new key")
        print(f"rotate.py … --finish drops the old one from {secret}/{key}. That is safe {_MAY_FINISH[key]}.")

    def password(self, service: str, *, managed: bool) -> None:
        """Rotate the password of a database role: services try the new one first, and the old one while it is valid."""
        secret, key = f"{service}-secrets", "database-url"
        urls = self._get(secret, key).split()
        if len(urls) == 1:
            new = _with_password(urls[0], _random())
            urls = [new, *urls]
            self._put(secret, {key: "\n".join(urls)}, f"{secret}/{key}: every replica knows the new password")
        new, old = urls[:2]
        if managed:
            # An operator alters the role when this Secret, with the label cnpg.io/reload, changes.
            self._store.put(f"postgres-{service}", {"password": urlsplit(new).password or ""})
        elif not _lets_in(new):
            _alter(old, urlsplit(new).password or "")
        deadline = time.monotonic() + self._within_s
        while not (self._store.is_altered(service) if managed else _lets_in(new)):
            if time.monotonic() > deadline:
                raise Stop(
                    f"Postgres has not taken the new password of {service} within {self._within_s:.0f} s"
                    + (": `kubectl describe cluster postgres` says why" if managed else "")
                    + f". {secret}/{key} holds both; run this again, which goes on with them."
                )
            time.sleep(0.2)
        # Behind a pooler migrations have a way of their own, with the same password.
        direct = self._store.find(secret, "migrate-database-url")
        values = {"migrate-database-url": _with_password(direct, urlsplit(new).password or "")} if direct else {}
        self._put(secret, {key: new, **values}, f"{secret}/{key}: only the new password is left")

    def s3_keys(self, access_key_file: Path | None, secret_key_file: Path | None) -> None:
        """Change to another pair of keys; the S3 has to know both pairs for an hour more, for URLs that were signed."""
        if access_key_file is None or secret_key_file is None:
            raise Stop("make another pair at your S3, and give it with --access-key-file and --secret-key-file")
        values = {
            "s3-access-key": access_key_file.read_text(encoding="utf-8").strip(),
            "s3-secret-key": secret_key_file.read_text(encoding="utf-8").strip(),
        }
        self._require_that_backups_go_on(*values.values())
        self._put("artifacts-secrets", values, "artifacts-secrets: every replica uses the new keys")
        print("URLs that were signed with the old keys are valid for an hour: remove them at the S3 after that.")

    def _require_that_backups_go_on(self, access_key: str, secret_key: str) -> None:
        """Backups that use the pair that is to go would end with it; the new one may not be let into their bucket."""
        theirs = [self._store.find("postgres-backups", key) for key in ("access-key", "secret-key")]
        if theirs[0] == self._get("artifacts-secrets", "s3-access-key") and theirs != [access_key, secret_key]:
            raise Stop(
                "postgres-backups has the pair that is to go, so backups and WAL would end with it. Give it one that "
                "may write to the backups' bucket (kubectl edit secret postgres-backups: access-key, secret-key), see "
                "that a backup succeeds, and run this again."
            )

    def api_key(self, name: str) -> None:
        """Give a caller another API key, in NAME-secrets (of admin: modelstead-admin), then refuse the old one."""
        secret = "modelstead-admin" if name == "admin" else f"{name}-secrets"
        old, lines = self._get(secret, "api-key"), self._get("modelstead-tokens", "tokens").splitlines()
        mine = [line for line in lines if line.endswith(_digest(old))]
        if not mine:
            raise Stop(f"the key in {secret} is none that modelstead-tokens knows")
        new = _random()
        who = mine[0].rpartition(":")[0]
        added = {"tokens": "\n".join([*lines, f"{who}:{_digest(new)}"]) + "\n"}
        self._put("modelstead-tokens", added, "modelstead-tokens: every replica knows the new key")
        self._put(secret, {"api-key": new}, f"{secret}: whoever reads the key reads the new one")
        # All others of this caller, also that of a rotation which was cut off.
        left = [line for line in lines if line.rpartition(":")[0] != who]
        only = {"tokens": "\n".join([*left, f"{who}:{_digest(new)}"]) + "\n"}
        self._put("modelstead-tokens", only, "modelstead-tokens: the old key is refused")

    def _get(self, secret: str, key: str) -> str:
        value = self._store.find(secret, key)
        if not value:
            raise Stop(f"there is no {key} in {secret}")
        return value

    def _put(self, secret: str, values: Mapping[str, str], reached: str) -> None:
        self._store.put(secret, values)
        self._settle(reached)

    def _settle(self, reached: str) -> None:
        time.sleep(self._settle_s)
        print(f"{reached}.", flush=True)


def _lets_in(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _alter(url: str, password: str) -> None:
    """Change a role's password as the role itself. The server gets, and may log, nothing but the verifier."""
    import psycopg
    from psycopg import sql

    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            role = connection.info.user
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
            connection.execute(statement)
    except psycopg.Error as error:
        raise Stop(f"Postgres did not change the password: {str(error).strip()}") from error


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(parts.username or '')}:{password}@{where}"))


def _random() -> str:
    """Return 32 random bytes in URL-safe base64, with the padding that Fernet's keys have elsewhere."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _service(name: str | None) -> str:
    if name not in _SERVICES:
        raise Stop(f"name a service: {', '.join(_SERVICES)}")
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whats = ("page-token-key", "session-keys", "webhook-secret-keys", "database-password", "s3-keys", "api-key")
    parser.add_argument("what", choices=whats)
    parser.add_argument("name", nargs="?", metavar="SERVICE|NAME")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--namespace", help="the namespace of the Secrets")
    where.add_argument("--folder", type=Path, help="the folder with a folder for each secret")
    parser.add_argument("--settle", type=float, default=_SETTLE_S, metavar="SECONDS", help="how long a change takes")
    parser.add_argument(
        "--within",
        type=float,
        default=_ALTERED_WITHIN_S,
        metavar="SECONDS",
        help="how long Postgres may take to take a password",
    )
    parser.add_argument("--finish", action="store_true", help="drop the keys that were used before")
    parser.add_argument("--managed", action="store_true", help="an operator alters the role, as CloudNativePG does")
    parser.add_argument("--access-key-file", type=Path, metavar="FILE")
    parser.add_argument("--secret-key-file", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    main()
