"""Google Cloud Storage, over gcsfs."""

import functools
import json
from typing import Any

import aiohttp
import gcsfs.core  # type: ignore[import-untyped]
import gcsfs.retry  # type: ignore[import-untyped]
import google.auth.exceptions

from services.artifacts.external.cloud import ANSWER_TIMEOUT_S, CloudFiles, Dialect, Info
from services.artifacts.external.files import CannotSign, SignedUrl
from services.common.artifact_stores import Store


def open_files(store: Store) -> CloudFiles:
    """Return the files of a store; without a key in its options this machine's own identity is used.

    With an endpoint of its own and no key nobody is asked who we are: that is an emulator.
    """
    endpoint = store.options.get("endpoint_url")
    key = store.secret("service_account_file")
    # Not gcsfs.GCSFileSystem, which asks Google's gRPC API first what kind of bucket it is.
    connect = functools.partial(
        gcsfs.core.GCSFileSystem,
        # Needed to make and to list buckets only, which never happens here.
        project="none",
        token=_token(store, key) or ("anon" if endpoint else "google_default"),
        endpoint_url=endpoint,
        requests_timeout=ANSWER_TIMEOUT_S,
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    dialect = Dialect(
        fresh={"refresh": True},
        failures=(gcsfs.retry.HttpError, google.auth.exceptions.GoogleAuthError, aiohttp.ClientError),
        etag=_etag,
        sign=_sign,
    )
    return CloudFiles(connect, "/".join((store.root.authority, *store.root.segments)), dialect)


def _token(store: Store, key: str | None) -> Any:
    try:
        return None if key is None else json.loads(key)
    except ValueError as error:
        raise store.error("service_account_file", "not the JSON of a service account's key") from error


def _etag(info: Info) -> str:
    return str(info["generation"])


def _sign(fs: Any, path: str, expires_s: int, for_upload: bool) -> SignedUrl:
    try:
        return SignedUrl(url=fs.sign(path, expires_s, version="v4", method="PUT" if for_upload else "GET"))
    except (AttributeError, google.auth.exceptions.GoogleAuthError) as error:
        # What has no private key has no method to sign with.
        raise CannotSign from error
