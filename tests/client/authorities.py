"""Private authorities for tests of TLS, in files: what they vouch for, and servers that show it."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM
_DAY = datetime.timedelta(days=1)


class Authority:
    """`file` is its own certificate, `server` and `client` a certificate and its key each, for 127.0.0.1."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        self.file, self.server, self.client = (folder / f"{name}-{each}.pem" for each in ("ca", "server", "client"))
        builder = self._builder(name, self._key.public_key(), is_authority=True)
        self.file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM))
        self.server.write_bytes(self.issue("127.0.0.1"))
        self.client.write_bytes(self.issue("a client"))

    def issue(self, name: str, *, password: bytes | None = None) -> bytes:
        """Return a certificate and its key, in one PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(name, key.public_key(), is_authority=False).sign(self._key, hashes.SHA256())
        protection: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            protection = serialization.BestAvailableEncryption(password)
        return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, protection) + made.public_bytes(_PEM)

    def of_http(self, *, asks_clients: bool = False) -> ssl.SSLContext:
        """Return a server's side of HTTP, which with `asks_clients` lets in only whom the authority vouches for."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.server)
        if asks_clients:
            made.load_verify_locations(self.file)
            made.verify_mode = ssl.CERT_REQUIRED
        return made

    def of_grpc(self, *, asks_clients: bool = False) -> grpc.ServerCredentials:
        """Return a server's side of gRPC, likewise."""
        pair = self.server.read_bytes()
        roots = self.file.read_bytes() if asks_clients else None
        return grpc.ssl_server_credentials([(pair, pair)], roots, require_client_auth=asks_clients)

    def _builder(self, name: str, key: ec.EllipticCurvePublicKey, *, is_authority: bool) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 30 * _DAY)
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), critical=False
            )
        )
