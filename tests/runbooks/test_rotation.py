"""Every secret of the platform is rotated by the runbook, under load and without a failed request."""

import dataclasses
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from services.local import waiting
from services.local.data_dir import DataDir
from services.local.object_store import ACCESS_KEY, ObjectStore
from services.local.process import Process
from tests.faults.commands import gc_arguments
from tests.faults.files import Files
from tests.runbooks.load import Load
from tests.runbooks.platform import TEST_TIMEOUT_S, TIMEOUT_S, Done, modelstead
from tests.s3 import S3
from tests.stack import Stack

pytestmark = pytest.mark.timeout(TEST_TIMEOUT_S)
_RUNBOOK = Path(__file__).parents[2] / "deploy" / "runbooks" / "rotate.py"
_SERVICES = ("tracking", "artifacts", "registry")
_API = "/api/2.0/mlflow"


class MountedStack(Stack):
    """A platform whose services read all their secrets below a folder, by the names that they have in a cluster."""

    def __init__(self, path: Path, mounts: Path, s3: S3) -> None:
        super().__init__(path, tokens_file=mounts / "modelstead-tokens" / "tokens", s3=s3, artifact_stores="")
        self._mounts = mounts

    def start(self, name: str) -> None:
        child = self._children[name]
        secret, env = self._mounts / f"{name}-secrets", dict(child.env)
        for variable in (name for name in child.env if _names_a_secret(name)):
            file = secret / variable.removeprefix("MODELSTEAD_").removesuffix("_FILE").lower().replace("_", "-")
            if not file.exists():
                _write(file, Path(env[variable]).read_text().strip())
            env[variable] = str(file)
        self._children[name] = dataclasses.replace(child, env=env)
        super().start(name)


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    folder = tmp_path / "mounts"
    keys = {name: secrets.token_urlsafe(32) for name in ("admin", "gc")}
    _write(folder / "modelstead-admin" / "api-key", keys["admin"])
    _write(folder / "gc-secrets" / "api-key", keys["gc"])
    lines = [f"{name}:admins:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in keys.items()]
    _write(folder / "modelstead-tokens" / "tokens", "\n".join(lines))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[S3, S3]]:
    """An S3 with two pairs of keys, as it has while they are rotated."""
    with DataDir(tmp_path / "s3") as data_dir:
        store = ObjectStore(data_dir)
        pairs = [(ACCESS_KEY, store.secret_key), ("another", secrets.token_urlsafe(32))]
        store.prepare()
        identities = [
            {"name": access, "credentials": [{"accessKey": access, "secretKey": secret}], "actions": ["Admin"]}
            for access, secret in pairs
        ]
        data_dir.keep_secret("object-store.json", json.dumps({"identities": identities}))
        server = Process(store.child())
        assert waiting.until(store.is_ready, timeout_s=60), server.last_lines()
        old, new = (S3(endpoint=f"http://{store.address}", access_key=a, secret_key=s) for a, s in pairs)
        yield old, new
        server.stop()


@pytest.mark.slow
def test_every_secret_is_rotated_without_a_failed_request(tmp_path: Path, mounts: Path, store: tuple[S3, S3]) -> None:
    old_s3, new_s3 = store
    with MountedStack(tmp_path / "stack", mounts, old_s3) as stack:
        admin = (mounts / "modelstead-admin" / "api-key").read_text()
        gc = (mounts / "gc-secrets" / "api-key").read_text()
        before = {path: path.read_text() for path in mounts.glob("*/*")}
        with httpx.Client(base_url=stack.url, timeout=30, headers={"authorization": f"Bearer {admin}"}) as client:
            token, webhook = _page(client)["next_page_token"], _make_webhook(client)
            with Load(stack.url, writers=1, pause_s=0.02, token=admin) as load:
                for service in _SERVICES:
                    _rotate(mounts, "page-token-key", service)
                    _rotate(mounts, "database-password", service)
                _rotate(mounts, "session-keys")
                _rotate(mounts, "webhook-secret-keys")
                _rotate(mounts, "api-key", "gc")
                _rotate_s3(mounts, new_s3, tmp_path)
                still = _page(client, token)
                _end_sessions(stack)
                count = load.count
                assert waiting.until(lambda: load.count >= count + 20, timeout_s=TIMEOUT_S), load.failed[-1:]
            resealed = _gc(stack, mounts / "gc-secrets" / "api-key")
            for words in (["session-keys"], ["webhook-secret-keys"], *(["page-token-key", name] for name in _SERVICES)):
                _rotate(mounts, *words, "--finish")
            # The secret is opened for it, whoever answers there.
            tested = client.post(f"{_API}/webhooks/{webhook}/test", json={})
        with httpx.Client(base_url=stack.url, timeout=30) as client:
            refused = client.get(f"{_API}/experiments/get?experiment_id=0", headers={"authorization": f"Bearer {gc}"})
        with Files(stack.url, {"authorization": f"Bearer {admin}"}) as files:
            assert files.put("after/rotation", b"x").status_code == 200

    print(f"{load.count} acknowledged while 10 secrets were rotated, {len(load.failed)} failed")
    same = {path.relative_to(mounts).as_posix() for path, text in before.items() if path.read_text() == text}
    assert load.failed == []
    assert same == {"modelstead-admin/api-key"}
    assert still["experiments"]
    assert "Sealed under the newest key, the secrets of 1 webhook." in resealed.stdout, resealed
    assert tested.status_code == 200, tested.text
    assert refused.status_code == 401


# Keeps the Secrets of a namespace as files, whose versions are how often they were changed, and writes down how it was
# called. The operator has seen them all, unless it is away.
_KUBECTL = """#!/usr/bin/env python3
import base64, json, pathlib, sys
folder = pathlib.Path(__file__).parent
words = sys.argv[1:]
with (folder / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
assert words[:2] == ["--namespace", "team"]
versions = (folder / "calls").read_text().count("patch secret postgres-tracking")
if words[2:5] == ["get", "cluster", "postgres"]:
    seen = "0" if (folder / "operator-is-away").exists() else str(versions)
    status = {"passwordStatus": {"tracking": {"resourceVersion": seen}}}
    print(json.dumps({"status": {"managedRolesStatus": status}}))
    sys.exit()
assert words[3] == "secret"
file = folder / f"{words[4]}.json"
if words[2] == "patch":
    assert words[5:] == ["--patch-file=/dev/stdin"]
    patched = {**json.loads(file.read_text()), **json.load(sys.stdin)["stringData"]}
    file.write_text(json.dumps(patched))
else:
    kept = json.loads(file.read_text())
    data = {key: base64.b64encode(value.encode()).decode() for key, value in kept.items()}
    print(json.dumps({"metadata": {"resourceVersion": str(versions)}, "data": data}))
"""


def test_in_a_cluster_an_operator_alters_the_role_and_no_command_line_has_a_password(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(_KUBECTL)
    kubectl.chmod(0o755)
    urls = {key: f"postgresql://tracking:old@{key}:5432/modelstead" for key in ("pooler", "direct")}
    before = {"database-url": urls["pooler"], "migrate-database-url": urls["direct"], "page-token-key": "k"}
    (tmp_path / "tracking-secrets.json").write_text(json.dumps(before))
    (tmp_path / "postgres-tracking.json").write_text(json.dumps({"username": "tracking", "password": "old"}))

    words = ["database-password", "tracking", "--managed", "--namespace", "team", "--settle=0"]
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def rotate(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, _RUNBOOK, *words, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env)

    (tmp_path / "operator-is-away").touch()
    stopped = rotate("--within=0")
    between = json.loads((tmp_path / "tracking-secrets.json").read_text())["database-url"]
    (tmp_path / "operator-is-away").unlink()
    done = rotate()

    assert stopped.returncode == 1
    assert (
        "has not taken the new password of tracking within 0 s: `kubectl describe cluster postgres`" in stopped.stderr
    )
    assert between.split()[1] == urls["pooler"]
    assert done.returncode == 0, done.stderr
    new = json.loads((tmp_path / "postgres-tracking.json").read_text())["password"]
    after = json.loads((tmp_path / "tracking-secrets.json").read_text())
    assert len(new) == 43
    assert after == {key: value.replace(":old@", f":{new}@") for key, value in before.items()}
    assert new not in (tmp_path / "calls").read_text() + done.stdout + done.stderr


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_a_rotation_that_was_killed_is_ended_with_a_key_that_all_know(tmp_path: Path, killed_after: int) -> None:
    old, new = "o" * 43, "n" * 43
    states = [old, f"{old},{new}", f"{new},{old}"]
    _write(tmp_path / "gateway-secrets" / "session-keys", states[killed_after])

    done = _run(tmp_path, "session-keys")
    _rotate(tmp_path, "session-keys", "--finish")

    left = (tmp_path / "gateway-secrets" / "session-keys").read_text()
    assert done.returncode == (1 if killed_after else 0)
    assert "safe 12 hours after" in done.stdout + done.stderr
    assert "," not in left
    assert left != old or killed_after == 1
    assert [path.name for path in tmp_path.glob(".*") if not path.name.startswith(".gateway-secrets-")] == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["page-token-key", "gateway"], "name a service"),
        (["session-keys"], "there is no session-keys in gateway-secrets"),
        (["s3-keys"], "--access-key-file"),
    ],
)
def test_what_cannot_be_rotated_is_said_in_a_sentence(tmp_path: Path, words: list[str], complaint: str) -> None:
    done = _run(tmp_path, *words)

    assert done.returncode == 1
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_of_the_s3_that_backups_use_are_not_taken_from_them(tmp_path: Path) -> None:
    old, new = ("old", "o" * 40), S3(endpoint="", access_key="new", secret_key="n" * 40)
    for secret, prefix in (("artifacts-secrets", "s3-"), ("postgres-backups", "")):
        for name, value in zip(("access", "secret"), old, strict=True):
            _write(tmp_path / secret / f"{prefix}{name}-key", value)

    with pytest.raises(AssertionError, match="postgres-backups has the pair that is to go"):
        _rotate_s3(tmp_path, new, tmp_path)
    unchanged = (tmp_path / "artifacts-secrets" / "s3-access-key").read_text()
    _write(tmp_path / "postgres-backups" / "access-key", "of backups")
    _rotate_s3(tmp_path, new, tmp_path)

    assert unchanged == "old"
    assert (tmp_path / "artifacts-secrets" / "s3-access-key").read_text() == "new"


def _names_a_secret(variable: str) -> bool:
    is_of_ours = variable.startswith("MODELSTEAD_") and variable.endswith("_FILE")
    return is_of_ours and variable != "MODELSTEAD_TOKENS_FILE"


def _rotate(mounts: Path, *words: str) -> None:
    done = _run(mounts, *words)
    assert done.returncode == 0, done.stderr


def _run(mounts: Path, *words: str) -> Done:
    command = [sys.executable, _RUNBOOK, *words, "--folder", str(mounts), "--settle", "0.5"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


def _rotate_s3(mounts: Path, new: S3, path: Path) -> None:
    words = []
    for name, value in (("access", new.access_key), ("secret", new.secret_key)):
        _write(path / f"new-{name}", value)
        words += [f"--{name}-key-file", str(path / f"new-{name}")]
    _rotate(mounts, "s3-keys", *words)


def _page(client: httpx.Client, token: str = "") -> dict[str, str]:
    if not token:
        for name in ("a", "b"):
            client.post(f"{_API}/experiments/create", json={"name": name}).raise_for_status()
    answer = client.post(f"{_API}/experiments/search", json={"max_results": 1, "page_token": token})
    answer.raise_for_status()
    return dict(answer.json())


def _make_webhook(client: httpx.Client) -> str:
    event = {"entity": "MODEL_VERSION", "action": "CREATED"}
    hook = {"name": "hook", "url": "http://127.0.0.1:9/", "secret": "s", "events": [event]}
    answer = client.post(f"{_API}/webhooks", json=hook)
    answer.raise_for_status()
    return str(answer.json()["webhook"]["webhook_id"])


def _gc(stack: Stack, key_file: Path) -> Done:
    return modelstead(*gc_arguments(stack), "--token-file", str(key_file))


def _end_sessions(stack: Stack) -> None:
    """Have all services connect anew, one idle connection after the other, so that none is in use."""
    query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'registry'"
    with psycopg.connect(stack.postgres.url()) as connection:
        connection.execute(query.encode())


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
