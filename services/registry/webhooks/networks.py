"""Where webhooks may lead: rules on URLs and addresses, which need no I/O.

Addresses of the Internet are allowed, and those that the operator lists. Everything else is refused: what is private,
of this machine or of its link, and every way to write such an address as another one.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from services.common.errors import InvalidArgument

URL_LENGTH_MAX = 2048

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Besides what ipaddress knows not to be global: what differs between versions of Python, and what it does not know.
_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers, and by some clouds for metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # a platform's own server on every virtual machine of Azure
        "169.254.0.0/16",  # the link, with the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "::/96",  # IPv4 as compatible IPv6
        "::ffff:0:0:0/96",  # IPv4 as translated IPv6
        "64:ff9b::/96",  # IPv4 behind NAT64
        "64:ff9b:1::/48",
        "2001::/23",  # Teredo among others
        "2002::/16",  # 6to4
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Networks:
    """What the operator allows: networks besides the Internet, and whether `http` will do."""

    allowed: Sequence[Network] = ()
    plain_http: bool = False

    @property
    def schemes(self) -> tuple[str, ...]:
        return ("https", "http") if self.plain_http else ("https",)

    def permits(self, address: Address) -> bool:
        """Whether a webhook may be sent to an address."""
        address = _plain(address)
        if any(address in network for network in self.allowed):
            return True
        return address.is_global and not any(address in network for network in _REFUSED)

    def check_url(self, url: str) -> None:
        """Raises InvalidArgument for a URL that no webhook may have; whither a name leads is seen when it is sent."""
        parts = _split(url)
        if parts.scheme not in self.schemes:
            raise InvalidArgument(
                f"Invalid webhook URL scheme: {parts.scheme!r}. Allowed schemes are: {', '.join(self.schemes)}."
            )
        if not parts.hostname:
            raise InvalidArgument(f"Webhook URL must include a hostname: {url!r}")
        if parts.username is not None or parts.password is not None:
            raise InvalidArgument("Webhook URL must not include a user or a password; use a secret.")
        address = _literal(parts.hostname)
        if address is not None and not self.permits(address):
            raise InvalidArgument(
                "Webhook URL must not resolve to a non-public IP address. "
                f"{parts.hostname!r} resolves to {address}. An operator may allow its network."
            )


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return networks written as 10.1.0.0/16 or fd00::/8. Raises ValueError."""
    return tuple(ipaddress.ip_network(text) for text in texts)


def parse_address(text: str) -> Address | None:
    """Return the address that a resolver told; None for what is none."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for in every socket."""
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def _split(url: str) -> SplitResult:
    if not url.strip():
        raise InvalidArgument(f"Webhook URL cannot be empty or just whitespace: {url!r}")
    if len(url) > URL_LENGTH_MAX:
        raise InvalidArgument(f"'url' exceeds the maximum length of {URL_LENGTH_MAX} characters")
    if not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        raise InvalidArgument(
            f"Invalid webhook URL {url!r}: write it in ASCII, without spaces and backslashes, a name as xn--…"
        )
    try:
        parts = urlsplit(url)
        # Parsed when it is asked for.
        _ = parts.port
    except ValueError as error:
        raise InvalidArgument(f"Invalid webhook URL {url!r}: {error}") from None
    return parts


def _literal(host: str) -> Address | None:
    """Return the address that a host is written as; None for a name. Raises InvalidArgument for other spellings of an
    address, such as 127.1, which systems read differently.
    """
    address = parse_address(host)
    if address is None and _looks_numeric(host):
        raise InvalidArgument(f"Webhook URL host {host!r} is not a canonical IP address literal.")
    return address


def _looks_numeric(host: str) -> bool:
    last = host.rstrip(".").rpartition(".")[2]
    return ":" in host or last.isdigit() or last.startswith("0x")
