"""Keeps the secrets of webhooks where only this service reads them: encrypted, under keys of the operator's."""

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from services.common.errors import DataLoss, NotImplemented_


class Sealer:
    """Seals under the first key, and opens what any of them sealed. A key is 32 bytes in URL-safe base64.

    The empty text stands for no secret and stays as it is. Raises ValueError for what is no key.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        ciphers = [Fernet(_padded(key)) for key in keys]
        self._newest = ciphers[0] if ciphers else None
        self._ciphers = MultiFernet(ciphers) if ciphers else None

    def seal(self, secret: str) -> str:
        """Return a secret as it may be stored. Raises NotImplemented_ without keys."""
        if not secret:
            return ""
        if self._ciphers is None:
            raise NotImplemented_(
                "This server keeps no secrets: its operator has to set MODELSTEAD_WEBHOOK_SECRET_KEYS first."
            )
        return self._ciphers.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return the secret. Raises DataLoss if none of the keys fits."""
        if not sealed:
            return ""
        if self._ciphers is None:
            raise _unreadable()
        try:
            return self._ciphers.decrypt(sealed).decode()
        except InvalidToken:
            raise _unreadable() from None

    def reseal(self, sealed: str) -> str:
        """Return a secret as sealed under the first key: as it is, if it already is. Raises DataLoss if no key fits."""
        if not sealed:
            return ""
        if self._newest is None or self._ciphers is None:
            raise _unreadable()
        try:
            self._newest.decrypt(sealed)
        except InvalidToken:
            return self.seal(self.open(sealed))
        return sealed


def _unreadable() -> DataLoss:
    return DataLoss("The webhook's secret was sealed under a key that MODELSTEAD_WEBHOOK_SECRET_KEYS does not hold.")


def _padded(key: str) -> str:
    return key + "=" * (-len(key) % 4)
