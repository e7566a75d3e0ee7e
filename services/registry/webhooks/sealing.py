"""Keeps the secrets of webhooks where only this service reads them: encrypted, under keys of the operator's."""

import base64
import hmac
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from services.common.errors import DataLoss, NotImplemented_
from services.common.secret_files import Derived, Secret, words_of


class _Ciphers(NamedTuple):
    newest: Fernet | None
    newest_key: bytes
    all: MultiFernet | None


class Sealer:
    """Seals under the first key, and opens what any of them sealed. A key is 32 bytes in URL-safe base64; a secret that
    holds them has commas between them.

    The empty text stands for no secret and stays as it is. Raises ValueError for what is no key.
    """

    def __init__(self, keys: Sequence[str] | Secret) -> None:
        secret = keys if isinstance(keys, Secret) else Secret(",".join(keys))
        self._keys = Derived(secret, lambda text: _ciphers(words_of(text)))

    def seal(self, secret: str) -> str:
        """Return a secret as it may be stored. Raises NotImplemented_ without keys."""
        if not secret:
            return ""
        ciphers = self._keys().all
        if ciphers is None:
            raise NotImplemented_(
                "This server keeps no secrets: its operator has to set MODELSTEAD_WEBHOOK_SECRET_KEYS first."
            )
        return ciphers.encrypt(secret.encode()).decode()

    def fingerprint(self, secret: str) -> str:
        """Return what tells a secret from another one and, like a sealed one, gives it away to nobody without the first
        key; under another first key it is another one.
        """
        return hmac.digest(self._keys().newest_key, secret.encode(), "sha256").hex()

    def open(self, sealed: str) -> str:
        """Return the secret. Raises DataLoss if none of the keys fits."""
        if not sealed:
            return ""
        ciphers = self._keys().all
        if ciphers is None:
            raise _unreadable()
        try:
            return ciphers.decrypt(sealed).decode()
        except InvalidToken:
            raise _unreadable() from None

    def reseal(self, sealed: str) -> str:
        """Return a secret as sealed under the first key: as it is, if it already is. Raises DataLoss if no key fits."""
        if not sealed:
            return ""
        newest = self._keys().newest
        if newest is None:
            raise _unreadable()
        try:
            newest.decrypt(sealed)
        except InvalidToken:
            return self.seal(self.open(sealed))
        return sealed


def _ciphers(keys: Sequence[str]) -> _Ciphers:
    padded = [_padded(key) for key in keys]
    ciphers = [Fernet(key) for key in padded]
    if not ciphers:
        return _Ciphers(None, b"", None)
    return _Ciphers(ciphers[0], base64.urlsafe_b64decode(padded[0]), MultiFernet(ciphers))


def _unreadable() -> DataLoss:
    return DataLoss("The webhook's secret was sealed under a key that MODELSTEAD_WEBHOOK_SECRET_KEYS does not hold.")


def _padded(key: str) -> str:
    return key + "=" * (-len(key) % 4)
