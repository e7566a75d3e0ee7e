"""How much goes to the object store and comes from it, by way of this process."""

from dataclasses import dataclass, field

from services.common.rates import Rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Bytes of contents; what clients send and read by URLs of the store does not pass here."""

    bytes_in: Rate = field(default_factory=Rate)
    bytes_out: Rate = field(default_factory=Rate)
