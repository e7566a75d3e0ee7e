"""Which URIs lie in a store that the operator allows, and what is wrong with a file of stores."""

from pathlib import Path

import pytest

from services.common import artifact_stores
from services.common.artifact_stores import Location, Stores
from services.common.settings import SettingsError

ALLOWED = """
[stores.disk]
root = "file:///data"
[stores.inner]
root = "file:///data/team/inner/"
[stores.box]
root = "sftp://box:2222/data"
user = "modelstead"
known_hosts_file = "known_hosts"
[stores.lake]
root = "s3://lake"
[stores.blobs]
root = "wasbs://models@account.blob.core.windows.net/ml"
"""


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return load(tmp_path, ALLOWED)


def load(folder: Path, text: str) -> Stores:
    path = folder / "stores.toml"
    path.write_text(text)
    return artifact_stores.load(path)


@pytest.mark.parametrize(
    ("uri", "name", "path"),
    [
        ("file:///data", "disk", ()),
        ("file:///data/", "disk", ()),
        ("file:/data/a", "disk", ("a",)),
        ("/data/a b/c;d", "disk", ("a b", "c;d")),
        ("FILE:///data/a", "disk", ("a",)),
        ("/data/...", "disk", ("...",)),
        ("/data/team", "disk", ("team",)),
        ("/data/team/inner", "inner", ()),
        ("/data/team/inner/x", "inner", ("x",)),
        ("sftp://box:2222/data/x", "box", ("x",)),
        ("s3://lake", "lake", ()),
        ("s3://lake/a/b", "lake", ("a", "b")),
        ("wasbs://models@account.blob.core.windows.net/ml/x", "blobs", ("x",)),
    ],
)
def test_a_uri_at_or_below_a_root_is_found(stores: Stores, uri: str, name: str, path: tuple[str, ...]) -> None:
    found = stores.find(uri)

    assert found is not None
    assert (found[0].name, found[1]) == (name, path)
    assert stores.allow(uri)


@pytest.mark.parametrize(
    "uri",
    [
        *("/data2", "/dat", "/", "", "data/x", "./data/x", "file:data/x", "/DATA/x", "file://host/data/x"),
        *("/data/../etc", "/data/x/..", "/data/./x", "/data//x", "//data/x", "file:////data/x", "/data/x//"),
        *("/data/%2e%2e/etc", "/data/a%2fb", "/data/x?y", "/data/x#y", "/data\\..\\x", "/data/x\x00", "/data/x\n"),
        *("file://localhost/data/x", "file:///etc/passwd", "file://data/x"),
        *("sftp://box/data/x", "sftp://box:2222/data2", "sftp://BOX:2222/data", "sftp://me@box:2222/data/x"),
        *(
            "sftp://me:secret@box:2222/data/x",
            "sftp://box:2222",
            "sftp:///data/x",
            "sftp:/data/x",
            "ssh://box:2222/data",
        ),
        *("s3://lake2/x", "s3://lak", "s3:/lake/x", "s3:lake", "s3://x@lake/a", "s3://lake:80/a", "s3a://lake/x"),
        *("s3://lake/../other", "s3://lake/a?versionId=1", "https://lake/x", "C:/data/x", "c:\\data\\x"),
        *("wasbs://models@other.blob.core.windows.net/ml/x", "wasbs://other@account.blob.core.windows.net/ml"),
        *("wasbs://models@account.blob.core.windows.net/ml2", "wasbs://models:x@account.blob.core.windows.net/ml"),
        *("runs:/0123/x", "models:/x/1", "dbfs:/data", "s3 ://lake/x", " s3://lake/x"),
    ],
)
def test_a_uri_elsewhere_or_one_that_can_be_taken_in_two_ways_is_not_found(stores: Stores, uri: str) -> None:
    assert stores.find(uri) is None
    assert not stores.allow(uri)


def test_without_a_file_only_own_artifacts_are_allowed() -> None:
    stores = artifact_stores.load(None)

    assert stores.allow("mlflow-artifacts:/0")
    assert not stores.allow("/tmp/x")


@pytest.mark.parametrize(
    ("uri", "path"),
    [("mlflow-artifacts:/", ()), ("mlflow-artifacts:/a/b", ("a", "b")), ("mlflow-artifacts:///a", ("a",))],
)
def test_own_artifacts_have_a_path(uri: str, path: tuple[str, ...]) -> None:
    assert artifact_stores.managed_path(uri) == path


@pytest.mark.parametrize(
    "uri",
    ["mlflow-artifacts://host/a", "mlflow-artifacts:/a/../b", "mlflow-artifacts:/a%2f", "mlflow-artifacts:a", "s3://a"],
)
def test_what_is_no_plain_path_of_own_artifacts_has_none(uri: str) -> None:
    assert artifact_stores.managed_path(uri) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[stores.a]\n", "[stores.a] root: expected a plain URI with one of the schemes"),
        ("[stores.a]\nroot = 1", "[stores.a] root: expected a text that is not empty"),
        ('[stores.a]\nroot = "ftp://host/x"', "[stores.a] root: expected a plain URI with one of the schemes"),
        ('[stores.a]\nroot = "mlflow-artifacts:/x"', "[stores.a] root: expected a plain URI with one of the schemes"),
        ('[stores.a]\nroot = "s3://b/../x"', "[stores.a] root: expected a plain URI with one of the schemes"),
        ('[stores.a]\nroot = "s3:/b"', "[stores.a] root: a file root has three slashes and no host"),
        ('[stores.a]\nroot = "file://host/b"', "[stores.a] root: a file root has three slashes and no host"),
        ('[stores.a]\nroot = "file:///"', "[stores.a] root: expected a folder, not all that the machine has"),
        ('[stores.a]\nroot = "/data"\nuser = "x"', "[stores.a] user: not an option of file stores; those are: none"),
        (
            '[stores.a]\nroot = "s3://b"\nsecret_key = "x"',
            "[stores.a] secret_key: not an option of s3 stores; those are:",
        ),
        (
            '[stores.a]\nroot = "sftp://h/d"\nuser = "x"',
            "[stores.a] known_hosts_file: not set, but sftp stores need it",
        ),
        ('[stores.a]\nroot = "s3://b"\nregion = ""', "[stores.a] region: expected a text that is not empty"),
        (
            '[stores.a]\nroot = "/data"\n[stores.b]\nroot = "file:///data/"',
            "[stores.b] root: also the root of the store a",
        ),
        ('[stores."A b"]\nroot = "/data"', "[stores.A b]: expected a table named in small letters, digits and dashes"),
        ("[stores]\na = 1", "[stores.a]: expected a table"),
        ("stores = 1", "expected nothing but tables [stores.<name>]"),
        ("[store.a]\nroot = '/data'", "expected nothing but tables [stores.<name>]"),
        ("[stores.a", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(tmp_path, text)

    assert str(raised.value).startswith(f"{tmp_path / 'stores.toml'}: {complaint}")


def test_a_file_that_is_not_there_is_refused_with_its_variable(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^MODELSTEAD_ARTIFACT_STORES: cannot read .*absent: No such file"):
        artifact_stores.load(tmp_path / "absent")


def test_credentials_are_read_beside_the_file_and_only_when_asked_for(tmp_path: Path) -> None:
    text = '[stores.a]\nroot = "s3://b"\naccess_key_file = "keys/access"\nsecret_key_file = "keys/absent"'
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/access").write_text("AKIA\n")

    (store,) = load(tmp_path, text).stores

    assert store.secret("access_key_file") == "AKIA"
    assert store.secret("region") is None
    with pytest.raises(SettingsError, match=r"stores.toml: \[stores.a\] secret_key_file: cannot read .*absent\.$"):
        store.secret("secret_key_file")


def test_a_place_is_compared_by_segments() -> None:
    root = Location(scheme="s3", authority="b", segments=("a",))

    assert Location(scheme="s3", authority="b", segments=("a", "b")).below(root) == ("b",)
    assert Location(scheme="s3", authority="b", segments=("ab",)).below(root) is None
