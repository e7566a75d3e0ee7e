"""Reads YAML into nodes that know their lines, and refuses what only an attack would hold."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from services.common.errors import InvalidArgument

BYTES_MAX = 64 * 1024
DEPTH_MAX = 8
TEXT_LENGTH_MAX = 256
_PREFIX = "tag:yaml.org,2002:"
_PLAIN = frozenset(f"{_PREFIX}{name}" for name in ("str", "timestamp"))
_DIGITS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document, and what messages call it."""

    raw: Any
    path: str

    @property
    def line(self) -> int:
        return int(self.raw.start_mark.line) + 1

    def wrong(self, message: str) -> InvalidArgument:
        """Return the error that names the field and its line."""
        return _wrong(self.line, f"{self.path}: {message}")

    def text(self, *, length_max: int = TEXT_LENGTH_MAX) -> str:
        """Return a text of 1 to `length_max` characters. Raises InvalidArgument."""
        if not isinstance(self.raw, yaml.ScalarNode) or self.raw.tag not in _PLAIN:
            raise self.wrong(f"expected text, got {self._shown()}; put it in quotes if it is meant as text")
        value = str(self.raw.value)
        if not value.strip() or "\0" in value:
            raise self.wrong("the text is empty")
        if len(value) > length_max:
            raise self.wrong(f"the text has more than {length_max} characters")
        return value

    def integer(self, *, least: int, most: int) -> int:
        """Return a whole number of a range, ends included. Raises InvalidArgument."""
        value = self.raw.value if isinstance(self.raw, yaml.ScalarNode) and self._is("int") else ""
        if not _DIGITS.fullmatch(value) or not least <= int(value) <= most:
            raise self.wrong(f"expected a whole number from {least} to {most}, got {self._shown()}")
        return int(value)

    def boolean(self) -> bool:
        """Return true or false. Raises InvalidArgument."""
        if not self._is("bool") or self.raw.value not in ("true", "false"):
            raise self.wrong(f"expected true or false, got {self._shown()}")
        return bool(self.raw.value == "true")

    def items(self, *, most: int) -> list["Node"]:
        """Return the entries of a list of at most `most`. Raises InvalidArgument."""
        if not isinstance(self.raw, yaml.SequenceNode) or not self._is("seq"):
            raise self.wrong(f"expected a list, got {self._shown()}")
        if len(self.raw.value) > most:
            raise self.wrong(f"the list has {len(self.raw.value)} entries, more than {most}")
        return [Node(raw, f"{self.path}[{index}]") for index, raw in enumerate(self.raw.value)]

    def entries(self, *, most: int) -> Iterator[tuple[str, "Node"]]:
        """Return the entries of a mapping of at most `most`, whose keys are different texts. Raises InvalidArgument."""
        if not self.is_mapping or not self._is("map"):
            raise self.wrong(f"expected a mapping, got {self._shown()}")
        if len(self.raw.value) > most:
            raise self.wrong(f"the mapping has {len(self.raw.value)} entries, more than {most}")
        seen: set[str] = set()
        for raw_key, raw in self.raw.value:
            key = Node(raw_key, f"{self.path}: key").text()
            if key in seen:
                raise _wrong(Node(raw_key, "").line, f"{self.path}: {key!r} is there twice")
            seen.add(key)
            yield key, Node(raw, f"{self.path}.{key}" if self.path != "policy" else key)

    def fields(self, *known: str) -> dict[str, "Node"]:
        """Return a mapping whose keys are among `known`. Raises InvalidArgument."""
        found = dict(self.entries(most=64))
        for name, node in found.items():
            if name not in known:
                raise node.wrong(f"there is no such field; known are {', '.join(known)}")
        return found

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.raw, yaml.MappingNode)

    def _is(self, name: str) -> bool:
        return bool(self.raw.tag == _PREFIX + name)

    def _shown(self) -> str:
        if isinstance(self.raw, yaml.ScalarNode):
            return repr(self.raw.value[:100]) if self.raw.value else "nothing"
        return "a mapping" if self.is_mapping else "a list"


class _Loader(yaml.SafeLoader):
    """Composes nodes and makes no objects: neither anchors, nor aliases, nor deep nesting."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _wrong(event.start_mark.line + 1, "anchors and aliases are not allowed")
        if self._depth >= DEPTH_MAX:
            raise _wrong(event.start_mark.line + 1, f"nested deeper than {DEPTH_MAX} levels")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def compose(text: str) -> Node:
    """Return the one document of a text of at most 64 KiB. Raises InvalidArgument."""
    if len(text.encode("utf-8", "surrogatepass")) > BYTES_MAX:
        raise InvalidArgument(f"policy_yaml exceeds {BYTES_MAX} bytes.")
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _wrong(line, f"not YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise InvalidArgument("Invalid policy_yaml: it holds characters that YAML does not allow.") from None
    if root is None:
        raise InvalidArgument("Invalid policy_yaml: it is empty.")
    return Node(root, "policy")


def _wrong(line: int, message: str) -> InvalidArgument:
    return InvalidArgument(f"Invalid policy_yaml, line {line}: {message}")
