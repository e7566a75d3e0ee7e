"""Makes HTML of templates. Everything that is shown is escaped; what a template names and nobody gave is an error."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from services.gateway.console import units
from services.gateway.console.visits import below

_TEMPLATES = Path(__file__).parent / "templates"
_UNITS_OF_AGE = ((86_400, "d"), (3_600, "h"), (60, "min"))
# What is older is told by its date.
_AGE_S_MAX = 30 * 86_400


class Renderer:
    """Renders templates, each compiled when it is first needed. `address` tells where a static file is, below the
    console's root.
    """

    def __init__(self, *, root: str, address: Callable[[str], str]) -> None:
        self._root = root
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {
            "root": root,
            "url": lambda *segments, **query: f"{root}/console/{below(*segments, **query)}",
            "static": lambda name: f"{root}/console/{address(name)}",
        }
        self._environment.filters |= {"time": exact_time, "number": number}
        self._environment.filters |= {"metric": units.metric, "unit": lambda value, name: units.FORMATS[name](value)}

    def render(self, template: str, values: Mapping[str, Any], *, now_ms: int) -> bytes:
        """Return a page."""
        text = self._environment.get_template(template).render(values, age=lambda ms: age(ms, now_ms=now_ms))
        return text.encode()


def exact_time(ms: int) -> Markup:
    """Return a time, in milliseconds since the Unix epoch, to the second; scripts show it in the viewer's zone. What no
    calendar reaches, and clients may send all the same, is shown as its number.
    """
    moment = _moment(ms)
    if moment is None:
        return Markup("<span>{} ms</span>").format(ms)
    return Markup('<time datetime="{}">{} UTC</time>').format(_iso(moment), moment.strftime("%Y-%m-%d %H:%M:%S"))


def age(ms: int, *, now_ms: int) -> Markup:
    """Return how long ago a time was, or its date if that is long; the exact time stands in its title."""
    moment = _moment(ms)
    if moment is None:
        return exact_time(ms)
    seconds = (now_ms - ms) // 1000
    words = moment.strftime("%Y-%m-%d") if seconds > _AGE_S_MAX else _ago(seconds)
    title = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(_iso(moment), title, words)


def number(value: float) -> str:
    """Return a number with its thousands apart."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _ago(seconds: int) -> str:
    for unit_s, unit in _UNITS_OF_AGE:
        if seconds >= unit_s:
            return f"{seconds // unit_s} {unit} ago"
    return "just now"


def _moment(ms: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
