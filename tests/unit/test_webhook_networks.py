"""Webhooks lead to the Internet, and to what the operator lists; every way to write another address is refused."""

import ipaddress

import pytest

from services.common.errors import InvalidArgument
from services.registry.webhooks.networks import Networks, parse_networks

INTERNET = Networks()
REFUSED = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.100.100.200 127.0.0.1 127.255.255.254 168.63.129.16 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.168.1.1 198.18.0.1 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1
    255.255.255.255
    :: ::1 ::10.0.0.1 ::8.8.8.8 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:10.0.0.1
    64:ff9b::10.0.0.1 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:a00:1::1 2002:808:808::1
    fc00::1 fd00:ec2::254 fdff::1 fe80::1 fec0::1 ff02::1 ff0e::1
""".split()
PERMITTED = "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.32.0.1 2606:4700::1111 2a00:1450::1 ::ffff:8.8.8.8".split()


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_of_the_internet_is_refused(address: str) -> None:
    assert not INTERNET.permits(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PERMITTED)
def test_the_internet_is_permitted(address: str) -> None:
    assert INTERNET.permits(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("10.1.0.0/16", "10.1.2.3"),
        ("10.1.0.0/16", "::ffff:10.1.2.3"),
        ("127.0.0.1/32", "127.0.0.1"),
        ("fd00::/8", "fd12::1"),
        ("64:ff9b::/96", "64:ff9b::10.0.0.1"),
    ],
)
def test_what_the_operator_lists_is_permitted_and_no_more(network: str, address: str) -> None:
    networks = Networks(allowed=parse_networks([network]))

    assert networks.permits(ipaddress.ip_address(address))
    assert not networks.permits(ipaddress.ip_address("10.2.0.1"))
    assert not networks.permits(ipaddress.ip_address("127.0.0.2"))


def _refusal(url: str, networks: Networks = INTERNET) -> str:
    with pytest.raises(InvalidArgument) as raised:
        networks.check_url(url)
    return raised.value.message


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", "Webhook URL cannot be empty or just whitespace: ''"),
        ("  ", "Webhook URL cannot be empty or just whitespace: '  '"),
        ("http://example.com", "Invalid webhook URL scheme: 'http'. Allowed schemes are: https."),
        ("ftp://example.com", "Invalid webhook URL scheme: 'ftp'. Allowed schemes are: https."),
        ("file:///etc/passwd", "Invalid webhook URL scheme: 'file'. Allowed schemes are: https."),
        ("example.com/hook", "Invalid webhook URL scheme: ''. Allowed schemes are: https."),
        ("https://", "Webhook URL must include a hostname: 'https://'"),
        ("https:///hook", "Webhook URL must include a hostname: 'https:///hook'"),
        (
            "https://10.0.0.1/hook",
            "Webhook URL must not resolve to a non-public IP address. '10.0.0.1' resolves to 10.0.0.1.",
        ),
    ],
)
def test_a_url_is_refused_in_mlflows_words(url: str, text: str) -> None:
    assert _refusal(url).startswith(text)


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1", "https://[::1]:8443/", "https://[::ffff:10.0.0.1]/", "https://[fe80::1%25eth0]/",
        "https://169.254.169.254/latest/meta-data", "https://10.0.0.1.", "https://127.1", "https://2130706433",
        "https://0x7f000001", "https://0177.0.0.1", "https://127.0.0.0x1", "https://[::1", "https://a:b@example.com",
        "https://user@example.com", "https://@10.0.0.1", "https://example.com:port", "https://example.com:99999",
        "https://exa mple.com", "https://example.com\\@10.0.0.1", "https://example.com/\r\nX: y", "https://exämple.com",
        "https://example.com/" + "a" * 2048,
    ],
)  # fmt: skip
def test_a_url_that_hides_where_it_leads_is_refused(url: str) -> None:
    assert _refusal(url)


@pytest.mark.parametrize(
    "url", ["https://example.com", "https://example.com:8443/a?b=c", "HTTPS://EXAMPLE.com/", "https://8.8.8.8/"]
)
def test_a_url_of_the_internet_is_taken(url: str) -> None:
    INTERNET.check_url(url)


def test_plain_http_and_a_private_address_are_taken_where_the_operator_allows_them() -> None:
    networks = Networks(allowed=parse_networks(["10.0.0.0/8"]), plain_http=True)

    networks.check_url("http://10.0.0.1:9000/hook")

    assert _refusal("ftp://10.0.0.1", networks).endswith("Allowed schemes are: https, http.")
