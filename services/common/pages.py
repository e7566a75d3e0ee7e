"""Page tokens: opaque to clients, signed, and good only for the query that they were made for."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from services.common.errors import InvalidArgument

# A position holds what rows are ordered by, such as several tags of 8,000 characters each.
TOKEN_LENGTH_MAX = 1_048_576
_SIGNATURE_BYTES = 16


class PageTokens:
    """Makes and reads tokens under a secret that all replicas share."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encode(self, position: Sequence[Any], query: Any) -> str:
        """Return a token for `position`, the sort key of the last row of a page, as JSON scalars.

        `query` is whatever decides which rows follow, as JSON: filter, order, ids. Raises InvalidArgument for a
        position so long that `decode` would refuse its token.
        """
        payload = json.dumps(list(position), ensure_ascii=False, separators=(",", ":")).encode()
        token = base64.urlsafe_b64encode(self._signature(payload, query) + payload).decode()
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
        if not hmac.compare_digest(signature, self._signature(payload, query)):
            raise InvalidArgument("Invalid page token, it was not made for this query")
        return tuple(json.loads(payload))

    def _signature(self, payload: bytes, query: Any) -> bytes:
        about = json.dumps(query, sort_keys=True, separators=(",", ":")).encode()
        mac = hmac.new(self._key, len(about).to_bytes(8, "big") + about + payload, hashlib.sha256)
        return mac.digest()[:_SIGNATURE_BYTES]
