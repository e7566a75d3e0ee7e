"""Which authorities TLS trusts, and the certificate that a client shows: one answer for HTTP and for gRPC, whose own
would differ.
"""

import os
import pkgutil
import re
import ssl
from pathlib import Path
from typing import NoReturn

_GRPC_ROOTS_VARIABLE = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(rb"-----BEGIN ((?:[A-Z]+ )*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)
# How OpenSSL names what it looks for in a folder: `c_rehash`.
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")

ChannelArguments = tuple[bytes | None, bytes | None, bytes | None]
"""Roots, private key and certificate chain in PEM."""


class TrustError(OSError):
    """A file for TLS is not there, cannot be read or has something else. The text names it."""


def context(ca_file: Path | None = None, client_cert_file: Path | None = None) -> ssl.SSLContext:
    """Return what a client of HTTP takes.

    ca_file: the authorities in PEM, or a folder of them that `c_rehash` made; absent: the system's, which SSL_CERT_FILE
    and SSL_CERT_DIR may name, else those that gRPC brings. client_cert_file: a certificate and its key, without a
    password, in PEM. Raises TrustError.
    """
    # None is the system's, which OpenSSL looks up itself.
    roots = _chosen(ca_file) if ca_file else None if _of_system() else _of_grpc()
    try:
        made = ssl.create_default_context(cadata=roots.decode("ascii") if roots else None)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise TrustError(f"{ca_file} has a certificate that is not PEM: {error}") from error
    if client_cert_file:
        _load(made, client_cert_file)
    return made


def channel_arguments(ca_file: Path | None = None, client_cert_file: Path | None = None) -> ChannelArguments:
    """Return what `grpc.ssl_channel_credentials` takes, of the same files as `context`. Raises TrustError."""
    if ca_file:
        roots: bytes | None = _chosen(ca_file)
    else:
        # None are those that gRPC brings, or finds by its variable.
        roots = None if os.environ.get(_GRPC_ROOTS_VARIABLE) else _of_system()
    if client_cert_file is None:
        return roots, None, None
    key, certificates = _pair(client_cert_file)
    return roots, key, certificates


def check_authorities(file: Path) -> Path:
    """Return a file, or a folder, that `context` would take as `ca_file`. Raises TrustError."""
    context(file)
    return file


def check_client_certificate(file: Path) -> Path:
    """Return a file that `context` would take as `client_cert_file`. Raises TrustError."""
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), file)
    return file


def _chosen(file: Path) -> bytes:
    roots = _hashed(file) if file.is_dir() else _certificates(_read(file))
    if not roots:
        raise TrustError(f"{file} has no certificate in PEM")
    return b"\n".join(roots) + b"\n"


def _of_system() -> bytes | None:
    """Return what OpenSSL trusts by itself; None if that is nothing."""
    paths = ssl.get_default_verify_paths()
    roots: dict[bytes, None] = {}
    if paths.cafile:
        roots |= _readable(Path(paths.cafile))
    if paths.capath:
        roots |= _hashed(Path(paths.capath))
    return b"\n".join(roots) + b"\n" if roots else None


def _of_grpc() -> bytes | None:
    try:
        roots = _certificates(pkgutil.get_data("grpc", "_cython/_credentials/roots.pem") or b"")
    except OSError:
        # A package of somebody who has gRPC look elsewhere.
        return None
    return b"\n".join(roots)


def _hashed(folder: Path) -> dict[bytes, None]:
    try:
        files = sorted(file for file in folder.iterdir() if _HASHED.fullmatch(file.name))
    except OSError:
        return {}
    return {root: None for file in files for root in _readable(file)}


def _readable(file: Path) -> dict[bytes, None]:
    """Return the certificates of one file among the system's, which may be none."""
    try:
        return _certificates(file.read_bytes())
    except OSError:
        return {}


def _certificates(content: bytes) -> dict[bytes, None]:
    """Return each certificate once, in order."""
    return dict.fromkeys(_CERTIFICATE.findall(content))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise TrustError(f"{file} does not exist") from error
    except OSError as error:
        raise TrustError(f"{file} cannot be read: {error.strerror}") from error


def _pair(file: Path) -> tuple[bytes, bytes]:
    """Return the private key and the certificates of a file."""
    content = _read(file)
    key, certificates = _KEY.search(content), _certificates(content)
    if not certificates or key is None:
        raise TrustError(f"{file} has no {'private key' if certificates else 'certificate'} in PEM")
    return key[0], b"\n".join(certificates) + b"\n"


def _load(made: ssl.SSLContext, file: Path) -> None:
    _pair(file)

    def refuse() -> NoReturn:
        raise TrustError(f"the private key in {file} has a password, which nobody can be asked for")

    try:
        made.load_cert_chain(file, password=refuse)
    except ssl.SSLError as error:
        raise TrustError(f"{file} is not a certificate and its key in PEM: {error}") from error
