"""Page tokens: opaque to clients, signed, and good only for the query that they were made for."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from typing import Any

from services.common.errors import InvalidArgument
from services.common.secret_files import Derived, Secret
from services.common.settings import SettingsError, variable

# A position holds what rows are ordered by, such as several tags of 8,000 characters each.
TOKEN_LENGTH_MAX = 1_048_576
KEY_LENGTH_MIN = 32
# What is told of one page; the gateway takes answers of twice that.
PAGE_BYTES_MAX = 32 * 1024 * 1024
_SIGNATURE_BYTES = 16


def fitting(sizes: Iterable[int]) -> int:
    """Return how many of the first items of a page, each of about so many bytes, are told at a time: one at least."""
    count = held = 0
    for size in sizes:
        held += size
        if count and held > PAGE_BYTES_MAX:
            break
        count += 1
    return count


def text_bytes(texts: Iterable[str]) -> int:
    """Return how many bytes texts take in an answer."""
    joined = "".join(texts)
    return len(joined) if joined.isascii() else len(joined.encode())


class PageTokens:
    """Makes and reads tokens under a secret that all replicas share: keys, one a line, of which the first signs and
    each is good for reading.

    Raises ValueError for a key that is too short.
    """

    def __init__(self, secret: Secret) -> None:
        self._keys = Derived(secret, keys_of)

    def encode(self, position: Sequence[Any], query: Any) -> str:
        """Return a token for `position`, the sort key of the last row of a page, as JSON scalars.

        `query` is whatever decides which rows follow, as JSON: filter, order, ids. Raises InvalidArgument for a
        position so long that `decode` would refuse its token.
        """
        payload = json.dumps(list(position), ensure_ascii=False, separators=(",", ":")).encode()
        token = base64.urlsafe_b64encode(_signature(self._keys()[0], payload, query) + payload).decode()
        if len(token) > TOKEN_LENGTH_MAX:
            raise InvalidArgument(
                f"The page token would exceed {TOKEN_LENGTH_MAX} characters; order by fewer or shorter values"
            )
        return token

    def decode(self, token: str, query: Any) -> tuple[Any, ...]:
        """Return the position in a token. Raises InvalidArgument unless it was made by `encode` for the same query."""
        if len(token) > TOKEN_LENGTH_MAX:
            raise InvalidArgument(f"Invalid page token, it exceeds {TOKEN_LENGTH_MAX} characters")
        try:
            data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raise InvalidArgument("Invalid page token, could not base64-decode") from None
        if base64.urlsafe_b64encode(data).decode() != token:
            # Base64 has several spellings of the same bytes, of which a token is one.
            raise InvalidArgument("Invalid page token, it was not made here")
        signature, payload = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if not any(hmac.compare_digest(signature, _signature(key, payload, query)) for key in self._keys()):
            raise InvalidArgument("Invalid page token, it was not made for this query")
        return tuple(json.loads(payload))


def check_keys(secret: Secret) -> None:
    """Raises SettingsError unless what MODELSTEAD_PAGE_TOKEN_KEY has set is good for `PageTokens`."""
    try:
        keys_of(secret.read())
    except ValueError:
        raise SettingsError(f"{variable('page_token_key')} must have at least {KEY_LENGTH_MIN} characters.") from None


def keys_of(text: str) -> tuple[bytes, ...]:
    """Return the keys in a text, one a line. Raises ValueError if there is none, or one is too short."""
    keys = tuple(line.strip().encode() for line in text.splitlines() if line.strip())
    if not keys or min(map(len, keys)) < KEY_LENGTH_MIN:
        raise ValueError(f"expected keys of at least {KEY_LENGTH_MIN} characters")
    return keys


def _signature(key: bytes, payload: bytes, query: Any) -> bytes:
    about = json.dumps(query, sort_keys=True, separators=(",", ":")).encode()
    mac = hmac.new(key, len(about).to_bytes(8, "big") + about + payload, hashlib.sha256)
    return mac.digest()[:_SIGNATURE_BYTES]
