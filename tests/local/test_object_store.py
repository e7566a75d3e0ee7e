"""The embedded S3 server, as `modelstead up` runs it."""

import io
import os
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from minio.error import S3Error

from services.local import object_store, waiting
from services.local.data_dir import DataDir
from services.local.object_store import ObjectStore
from tests.s3 import S3, EmbeddedS3

_LISTENING = "0A"


def test_every_listener_is_on_loopback_and_on_a_chosen_port(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "data") as server:
        ports = sorted(_kept_ports(tmp_path / "data"))

        # Some listeners come after S3 has begun to answer.
        waiting.until(lambda: len(_listeners(server.process.pid)) >= len(ports), timeout_s=60)

        assert sorted(_listeners(server.process.pid)) == [("0100007F", port) for port in ports]


def test_nobody_gets_in_without_the_key(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "data") as server:
        right = server.s3
        wrong = S3(endpoint=right.endpoint, access_key=right.access_key, secret_key="guess")

        with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
            wrong.client().list_buckets()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(right.endpoint)


def test_objects_addresses_and_keys_outlive_a_power_cut(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "data") as server:
        before, bucket = server.s3, server.s3.make_bucket()
        server.s3.client().put_object(bucket_name=bucket, object_name="a", data=io.BytesIO(b"kept"), length=4)

        server.kill()
        server.start()

        assert server.s3 == before
        assert server.s3.client().get_object(bucket_name=bucket, object_name="a").data == b"kept"


def test_objects_are_found_also_after_the_ports_had_to_change(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "data") as server:
        bucket = server.s3.make_bucket()
        server.s3.client().put_object(bucket_name=bucket, object_name="a", data=io.BytesIO(b"kept"), length=4)
    (tmp_path / "data/object-store.ports").unlink()

    with EmbeddedS3(tmp_path / "data") as server:
        assert server.s3.client().get_object(bucket_name=bucket, object_name="a").data == b"kept"


def test_the_secret_key_is_for_its_owner_only(tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "data"):
        secrets = tmp_path / "data/secrets"

        assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o600}
        assert secrets.joinpath(object_store.KEY_NAME).exists()


def _kept_ports(data_dir: Path) -> list[int]:
    return list(object_store._kept_ports(data_dir / "object-store.ports").values())


def _listeners(pid: int) -> set[tuple[str, int]]:
    """Return host and port, in the kernel's spelling, of each TCP socket that a process listens on."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # It was closed meanwhile.
            inodes.add(link.readlink().name)
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and f"socket:[{fields[9]}]" in inodes:
                host, _, port = fields[1].partition(":")
                found.add((host, int(port, 16)))
    return found


def test_a_port_whose_socket_another_user_left_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with DataDir(tmp_path / "data") as data_dir:
        before = ObjectStore(data_dir).address
        left = Path(f"/tmp/seaweedfs-s3-{before.port}.sock")
        left.touch()
        try:
            monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)

            after = ObjectStore(data_dir).address
        finally:
            left.unlink()

    assert after != before
