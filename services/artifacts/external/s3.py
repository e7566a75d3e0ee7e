"""S3 elsewhere, over s3fs."""

import functools
from typing import Any

import aiohttp
import botocore.exceptions  # type: ignore[import-untyped]
import s3fs  # type: ignore[import-untyped]

from services.artifacts.external.cloud import ANSWER_TIMEOUT_S, CloudFiles, Dialect, Info
from services.artifacts.external.files import CannotSign, SignedUrl
from services.common.artifact_stores import Store

_CONNECT_TIMEOUT_S = 5


def open_files(store: Store) -> CloudFiles:
    """Return the files of a store; without keys in its options this machine's own identity is used."""
    endpoint = store.options.get("endpoint_url")
    region = store.options.get("region")
    config: dict[str, Any] = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "read_timeout": ANSWER_TIMEOUT_S,
        # s3fs tries again itself, a few times within two seconds.
        "retries": {"max_attempts": 0},
    }
    if endpoint:
        # Other servers than Amazon's may know neither buckets as host names nor the newer checksums.
        config |= {"s3": {"addressing_style": "path"}, "request_checksum_calculation": "when_required"}
    connect = functools.partial(
        s3fs.S3FileSystem,
        key=store.secret("access_key_file"),
        secret=store.secret("secret_key_file"),
        endpoint_url=endpoint,
        client_kwargs={"region_name": region} if region else {},
        config_kwargs=config,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    dialect = Dialect(
        fresh={"refresh": True},
        failures=(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, aiohttp.ClientError),
        etag=_etag,
        sign=_sign,
        has_folder_marks=True,
        keeps_parts=True,
    )
    return CloudFiles(connect, "/".join((store.root.authority, *store.root.segments)), dialect)


def _etag(info: Info) -> str:
    return str(info["ETag"]).strip('"')


def _sign(fs: Any, key: str, expires_s: int, for_upload: bool) -> SignedUrl:
    method = "put_object" if for_upload else "get_object"
    try:
        return SignedUrl(url=fs.sign(key, expiration=expires_s, client_method=method))
    except botocore.exceptions.NoCredentialsError as error:
        raise CannotSign from error
