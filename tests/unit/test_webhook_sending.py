"""What is sent goes to addresses that were checked and nowhere else, and no receiver holds it up for long."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.registry.webhooks.networks import Networks, parse_networks
from services.registry.webhooks.outcomes import Failure, Outcome
from services.registry.webhooks.payloads import Message, Target
from services.registry.webhooks.sending import ANSWER_BYTES_MAX, Resolve, Sender
from services.registry.webhooks.vocabulary import Dialect
from tests.receivers import Answer, Receiver

HERE = Networks(allowed=parse_networks(["127.0.0.1/32"]), plain_http=True)
INTERNET = Networks(plain_http=True)
MESSAGE = Message(body=b'{"a": 1}', headers=[("Content-Type", "application/json")])


class Names:
    """A resolver whose every answer is the next one of a list, the last one for good."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
async def senders() -> AsyncIterator[list[Sender]]:
    opened: list[Sender] = []
    yield opened
    for sender in opened:
        await sender.close()


@pytest.fixture
def send(senders: list[Sender]) -> Any:
    async def send(
        url: str, *, networks: Networks = HERE, resolve: Resolve | None = None, attempt_s_max: float = 60, **given: Any
    ) -> Outcome:
        sender = Sender(networks, resolve=resolve, attempt_s_max=attempt_s_max)
        senders.append(sender)
        return await sender.send(Target(webhook_id="w", dialect=Dialect.MLFLOW, url=url, **given), MESSAGE)

    return send


async def test_a_message_arrives_as_it_is(receiver: Receiver, send: Any) -> None:
    outcome = await send(receiver.url)

    assert (outcome.response_status, outcome.failure, outcome.text) == (200, None, "ok")
    [received] = receiver.received
    assert received.body == MESSAGE.body
    assert received.path == "/hook"
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert received.headers["content-type"] == "application/json"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433"])
async def test_this_machine_is_not_reached_however_it_is_written(receiver: Receiver, send: Any, host: str) -> None:
    outcome = await send(f"http://{host}:{receiver.port}/", networks=INTERNET)

    assert outcome.failure is Failure.ADDRESS_REFUSED
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.169.254", "fe80::1%1"]
)
async def test_a_name_of_an_address_that_is_not_allowed_is_refused(receiver: Receiver, send: Any, address: str) -> None:
    outcome = await send(f"http://receiver.example:{receiver.port}/", networks=INTERNET, resolve=Names([address]))

    assert outcome.failure is Failure.ADDRESS_REFUSED
    assert receiver.connections == 0


async def test_a_name_that_means_something_else_after_the_check_changes_nothing(send: Any) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    with Receiver(host="0.0.0.0") as everywhere:
        outcome = await send(f"http://rebinding.example:{everywhere.port}/", resolve=names)

    assert outcome.failure is None
    assert [received.local_host for received in everywhere.received] == ["127.0.0.1"]
    assert names.asked == ["rebinding.example"]


async def test_a_name_that_comes_to_mean_another_address_is_refused_the_next_time(
    receiver: Receiver, send: Any
) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    url = f"http://rebinding.example:{receiver.port}/"

    first, second = await send(url, resolve=names), await send(url, resolve=names)

    assert (first.failure, second.failure) == (None, Failure.ADDRESS_REFUSED)


async def test_of_several_addresses_only_those_allowed_are_tried(receiver: Receiver, send: Any) -> None:
    names = Names(["10.0.0.1", "127.0.0.2", "127.0.0.1"])

    outcome = await send(f"http://receiver.example:{receiver.port}/", resolve=names)

    assert outcome.failure is None
    assert receiver.received[0].local_host == "127.0.0.1"
    assert receiver.received[0].headers["host"] == f"receiver.example:{receiver.port}"


async def test_a_redirect_is_not_followed(receiver: Receiver, send: Any) -> None:
    with Receiver() as other:
        receiver.answers = lambda _: Answer(
            status=307, body=b"", headers={"location": other.url, "content-length": "0"}
        )
        outcome = await send(receiver.url)

    assert (outcome.response_status, outcome.failure) == (307, Failure.REDIRECTED)
    assert other.connections == 0


async def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        outcome = await send(receiver.url)

    assert outcome.failure is None
    assert proxy.connections == 0


async def test_http_that_the_operator_allows_no_more_is_refused(receiver: Receiver, send: Any) -> None:
    outcome = await send(receiver.url, networks=Networks(allowed=HERE.allowed))

    assert outcome.failure is Failure.ADDRESS_REFUSED
    assert receiver.connections == 0


@pytest.mark.parametrize(
    ("status", "failure"),
    [(204, None), (301, Failure.REDIRECTED), (404, Failure.BAD_STATUS), (410, Failure.GONE), (500, Failure.BAD_STATUS)],
)
async def test_an_answer_is_what_its_status_says(
    receiver: Receiver, send: Any, status: int, failure: Failure | None
) -> None:
    receiver.answers = lambda _: Answer(status=status, body=b"")

    outcome = await send(receiver.url)

    assert (outcome.response_status, outcome.failure) == (status, failure)


async def test_of_an_answer_without_end_only_the_beginning_is_read(receiver: Receiver, send: Any) -> None:
    receiver.answers = lambda _: Answer(body=b"x" * 100_000, repeated=100_000)

    outcome = await send(receiver.url)

    assert outcome.failure is None
    assert outcome.body == b"x" * ANSWER_BYTES_MAX


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("", None), ("soon", None), ("-1", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
async def test_what_the_receiver_asks_for_is_read(
    receiver: Receiver, send: Any, header: str, seconds: float | None
) -> None:
    receiver.answers = lambda _: Answer(status=503, headers={"retry-after": header, "content-length": "2"})

    outcome = await send(receiver.url)

    assert outcome.retry_after_s == seconds


async def test_a_receiver_that_does_not_answer_is_given_up_in_time(receiver: Receiver, send: Any) -> None:
    receiver.answers = lambda _: Answer(delay_s=10)

    outcome = await send(receiver.url, attempt_s_max=0.2)

    assert outcome.failure is Failure.TIMED_OUT
    assert outcome.duration_ms >= 150


async def test_an_answer_whose_end_does_not_come_is_an_answer(receiver: Receiver, send: Any) -> None:
    receiver.answers = lambda _: Answer(body=b"ok", headers={"content-length": "1000"})

    outcome = await send(receiver.url, attempt_s_max=3)

    assert (outcome.response_status, outcome.failure, outcome.text) == (200, None, "ok")


async def test_a_receiver_that_is_not_there(send: Any) -> None:
    with Receiver() as receiver:
        url = receiver.url

    assert (await send(url)).failure is Failure.CONNECT_FAILED


async def test_a_name_without_an_address(send: Any) -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror

    assert (await send("http://nowhere.example/", resolve=unknown)).failure is Failure.NAME_UNRESOLVED
    assert (await send("http://nowhere.example/", resolve=Names([]))).failure is Failure.NAME_UNRESOLVED


@pytest.mark.parametrize("answer", [b"", b"SMTP ready\r\n", b"HTTP/1.1 200\r\nno header\r\n\r\n"])
async def test_what_is_not_http(send: Any, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_answer_once, args=(listening, answer), daemon=True).start()
        outcome = await send(f"http://127.0.0.1:{listening.getsockname()[1]}/")

    assert outcome.failure is Failure.BROKEN_OFF


def _answer_once(listening: socket.socket, answer: bytes) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(answer)


class _Tls:
    """A server's side of TLS with a certificate that nobody knows, which notes the names asked for."""

    def __init__(self, folder: Path) -> None:
        self.names: list[str | None] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(_certificate(folder))
        self.context.sni_callback = lambda _, name, __: self.names.append(name)


def _certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver.example")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    alternatives = [x509.DNSName("receiver.example"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False).sign(
        key, hashes.SHA256()
    )
    file = folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + certificate.public_bytes(pem))
    return file


async def test_tls_asks_for_the_name_although_the_address_was_resolved_before(tmp_path: Path, send: Any) -> None:
    tls = _Tls(tmp_path)
    with Receiver(tls=tls.context) as receiver:
        outcome = await send(
            f"https://receiver.example:{receiver.port}/",
            resolve=Names(["127.0.0.1"]),
            enable_ssl_verification=False,
        )

    assert outcome.failure is None
    assert tls.names == ["receiver.example"]


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path, send: Any) -> None:
    with Receiver(tls=_Tls(tmp_path).context) as receiver:
        outcome = await send(f"https://receiver.example:{receiver.port}/", resolve=Names(["127.0.0.1"]))

    assert outcome.failure is Failure.TLS_FAILED
    assert receiver.received == []


async def test_a_certificate_of_another_name_is_refused(
    tmp_path: Path, send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(_certificate(tmp_path)))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "certificate.pem")
    with Receiver(tls=tls) as receiver:
        names = Names(["127.0.0.1"])
        right = await send(f"https://receiver.example:{receiver.port}/", resolve=names)
        wrong = await send(f"https://another.example:{receiver.port}/", resolve=names)

    assert (right.failure, wrong.failure) == (None, Failure.TLS_FAILED)


async def test_a_slow_name_server_holds_up_nobody_for_long(send: Any) -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    started = time.monotonic()
    outcome = await send("http://slow.example/", resolve=never, attempt_s_max=0.2)

    assert outcome.failure is Failure.TIMED_OUT
    assert time.monotonic() - started < 30
