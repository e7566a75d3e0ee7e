"""Which store an artifact URI leads to, and extras that are not installed."""

import sys
from pathlib import Path

import pytest

from services.artifacts.external.stores import ExternalStores
from services.common import artifact_stores
from services.common.errors import InvalidArgument
from services.common.settings import SettingsError
from tests.store.artifacts_external.test_trees import write


def load(folder: Path, text: str) -> artifact_stores.Stores:
    (folder / "stores.toml").write_text(text)
    return artifact_stores.load(folder / "stores.toml")


async def test_a_uri_leads_to_the_innermost_store_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    text = f'[stores.outer]\nroot = "file://{tmp_path}/a"\n[stores.inner]\nroot = "{tmp_path}/a/b"'
    stores = ExternalStores(load(tmp_path, text))

    tree, path = stores.resolve(f"file://{tmp_path}/a/b/0/run/artifacts")
    await write(tree, (*path, "file"), b"x")

    assert path == ("0", "run", "artifacts")
    assert (tmp_path / "a/b/0/run/artifacts/file").read_bytes() == b"x"
    assert stores.resolve(f"{tmp_path}/a/c")[1] == ("c",)
    await stores.close()


async def test_a_uri_in_no_store_is_refused(tmp_path: Path) -> None:
    stores = ExternalStores(load(tmp_path, f'[stores.a]\nroot = "{tmp_path}/a"'))

    for uri in (f"{tmp_path}/ab", f"{tmp_path}/a/../x", "s3://bucket/x", "mlflow-artifacts:/0", ""):
        with pytest.raises(InvalidArgument, match="are in no store that this server's operator allows"):
            stores.resolve(uri)


@pytest.mark.parametrize(
    ("table", "library", "extra"),
    [
        ('root = "s3://b"', "s3fs", "s3"),
        ('root = "gs://b"', "gcsfs.core", "gcs"),
        ('root = "wasbs://c@a.blob.core.windows.net"', "adlfs", "azure"),
        ('root = "abfss://c@a.dfs.core.windows.net"', "adlfs", "azure"),
        ('root = "sftp://h/d"\nuser = "u"\nknown_hosts_file = "stores.toml"', "paramiko", "sftp"),
    ],
)
def test_a_missing_extra_stops_the_start_and_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, library: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for module in [name for name in sys.modules if name.startswith("services.artifacts.external.")]:
        monkeypatch.delitem(sys.modules, module)

    with pytest.raises(SettingsError) as raised:
        ExternalStores(load(tmp_path, f"[stores.elsewhere]\n{table}"))

    assert "stores.toml: [stores.elsewhere] root: " in str(raised.value)
    assert f"run `pip install 'modelstead-server[{extra}]'`" in str(raised.value)
