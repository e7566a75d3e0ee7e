"""Azure Blob Storage, over adlfs."""

import datetime
import functools
from typing import Any
from urllib.parse import quote

import adlfs  # type: ignore[import-untyped]
import aiohttp
from azure.core.exceptions import AzureError
from azure.storage.blob import BlobSasPermissions, generate_blob_sas

from services.artifacts.external.cloud import ANSWER_TIMEOUT_S, CloudFiles, Dialect, Info
from services.artifacts.external.files import CannotSign, SignedUrl
from services.common.artifact_stores import Store

_CONNECT_TIMEOUT_S = 5


def open_files(store: Store) -> CloudFiles:
    """Return the files of a store; without a key or token in its options this machine's own identity is used."""
    container, _, host = store.root.authority.partition("@")
    account = host.partition(".")[0]
    # The host of a `dfs` URI speaks another protocol; that of blobs is its neighbour.
    endpoint = store.options.get("endpoint_url") or f"https://{host.replace('.dfs.', '.blob.', 1)}"
    key, token = store.secret("account_key_file"), store.secret("sas_token_file")
    connect = functools.partial(
        adlfs.AzureBlobFileSystem,
        account_name=account,
        connection_string=_connection_string(account, endpoint, key, token),
        account_host=endpoint.partition("://")[2],
        anon=False,
        connection_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=int(ANSWER_TIMEOUT_S),
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    dialect = Dialect(
        fresh={"invalidate_cache": True},
        failures=(AzureError, aiohttp.ClientError),
        etag=_etag,
        sign=lambda _, path, expires_s, for_upload: _sign(
            path, expires_s, for_upload=for_upload, account=account, endpoint=endpoint, key=key
        ),
    )
    return CloudFiles(connect, "/".join((container, *store.root.segments)), dialect)


def _connection_string(account: str, endpoint: str, key: str | None, token: str | None) -> str | None:
    if key:
        return f"AccountName={account};AccountKey={key};BlobEndpoint={endpoint}"
    if token:
        return f"BlobEndpoint={endpoint};SharedAccessSignature={token.removeprefix('?')}"
    return None


def _etag(info: Info) -> str:
    return str(info["etag"]).strip('"')


def _sign(path: str, expires_s: int, *, for_upload: bool, account: str, endpoint: str, key: str | None) -> SignedUrl:
    if key is None:
        raise CannotSign
    container, _, blob = path.partition("/")
    permission: Any = BlobSasPermissions(create=for_upload, write=for_upload, read=not for_upload)
    token = generate_blob_sas(
        account_name=account,
        container_name=container,
        blob_name=blob,
        account_key=key,
        permission=permission,
        expiry=datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=expires_s),
    )
    headers = {"x-ms-blob-type": "BlockBlob"} if for_upload else {}
    return SignedUrl(url=f"{endpoint}/{container}/{quote(blob)}?{token}", headers=headers)
