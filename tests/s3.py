"""A real S3 for tests: an embedded server, or the one that MODELSTEAD_TEST_S3_ENDPOINT names.

For another one set MODELSTEAD_TEST_S3_ACCESS_KEY and MODELSTEAD_TEST_S3_SECRET_KEY too; its keys must be allowed to
make and remove buckets.
"""

import dataclasses
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from minio import Minio
from minio.deleteobjects import DeleteObject

from services.local import waiting
from services.local.data_dir import DataDir
from services.local.errors import LocalError
from services.local.object_store import ACCESS_KEY, ObjectStore
from services.local.process import Process

_READY_TIMEOUT_S = 180.0
_VARIABLE = "MODELSTEAD_TEST_S3_"


@dataclass(frozen=True, kw_only=True)
class S3:
    """Where an S3 is, as `http://host:port`, and the keys to it."""

    endpoint: str
    access_key: str
    secret_key: str

    def client(self) -> Minio:
        parts = urlsplit(self.endpoint)
        return Minio(
            parts.netloc, access_key=self.access_key, secret_key=self.secret_key, secure=parts.scheme == "https"
        )

    def make_bucket(self) -> str:
        """Make an empty bucket and return its name."""
        name = f"test-{uuid.uuid4().hex}"
        self.client().make_bucket(bucket_name=name)
        return name

    def empty_bucket(self, name: str) -> None:
        """Remove all objects in a bucket, and all parts of some that are no objects yet."""
        client = self.client()
        found = client.list_objects(bucket_name=name, recursive=True)
        doomed = [DeleteObject(each.object_name) for each in found if each.object_name]
        assert list(client.remove_objects(bucket_name=name, delete_object_list=doomed)) == []
        for upload in client._list_multipart_uploads(name).uploads:
            client._abort_multipart_upload(name, upload.object_name, upload.upload_id)

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket with all in it."""
        self.empty_bucket(name)
        self.client().remove_bucket(bucket_name=name)


def from_environment() -> S3 | None:
    """Return the S3 that the environment names."""
    endpoint = os.environ.get(f"{_VARIABLE}ENDPOINT")
    if not endpoint:
        return None
    return S3(
        endpoint=endpoint,
        access_key=os.environ[f"{_VARIABLE}ACCESS_KEY"],
        secret_key=os.environ[f"{_VARIABLE}SECRET_KEY"],
    )


class EmbeddedS3:
    """A real S3 server on loopback with its own data folder, as `modelstead up` runs it.

    Everything blocks. The server ends with the thread that started it, however that ends.
    """

    def __init__(self, data_dir: Path) -> None:
        """`data_dir` is locked from `start` to `stop`, and made if it is not there."""
        self._path = data_dir
        self._data_dir: DataDir | None = None
        self._store: ObjectStore | None = None
        self._process: Process | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def s3(self) -> S3:
        """How to reach it; the same after `kill` and `start`."""
        assert self._store is not None, "not started"
        return S3(endpoint=f"http://{self._store.address}", access_key=ACCESS_KEY, secret_key=self._store.secret_key)

    @property
    def process(self) -> Process:
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> None:
        """Start the server and wait until it answers. Raises LocalError."""
        assert self._process is None, "already started"
        self._data_dir = self._data_dir or DataDir(self._path)
        store = self._store = self._store or ObjectStore(self._data_dir)
        store.prepare()
        child = store.child()
        # Each bucket takes volumes of its own, of which by itself it has as many as the disk has free gibibytes.
        server = self._process = Process(dataclasses.replace(child, argv=[*child.argv, "-volume.max=1000"]))
        has_settled = waiting.until(lambda: server.ended or store.is_ready(), timeout_s=_READY_TIMEOUT_S)
        if server.ended or not has_settled:
            last = server.last_lines()
            self.stop()
            raise LocalError(f"The S3 server did not start. It last logged:\n{last}")

    def stop(self) -> None:
        """Shut down and release the folder. Does nothing when not started."""
        if self._process is not None:
            self._process.stop()
        if self._data_dir is not None:
            self._data_dir.close()
        self._data_dir = self._store = self._process = None

    def kill(self) -> None:
        """End the server as a power cut would. Only `start` or `stop` make sense afterwards."""
        self.process.kill()
        self._process = None
