"""What is wrong with a declarative file: each fault with its place, its line, and Kong's words for it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Location = tuple[str | int, ...]
"""The way to a place in a file: `("services", 0, "routes", 1, "paths")`."""


@dataclass(frozen=True, slots=True)
class Fault:
    location: Location
    message: str
    line: int = 0
    """From 1; 0 when it has none."""

    @property
    def place(self) -> str:
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.location)
        return text.removeprefix(".") or "file"

    def __str__(self) -> str:
        return f"line {self.line}: {self.place}: {self.message}" if self.line else f"{self.place}: {self.message}"


class InvalidConfiguration(Exception):
    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = sorted(faults, key=lambda fault: fault.line)


class Lines:
    """Where in the text each place of a document is."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._root = root

    def of(self, location: Location) -> int:
        """The line of that place, or of the nearest one around it that is written."""
        node, line = self._root, self._root.start_mark.line + 1 if self._root else 0
        for part in location:
            entry = _entry(node, part)
            if entry is None:
                break
            key, node = entry
            line = key.start_mark.line + 1
        return line

    def said_twice(self) -> Iterator[Fault]:
        """Keys that stand twice in one mapping: YAML takes the last, and what the first said would be gone without a word."""
        return _said_twice(self._root, (), set())


def _said_twice(node: yaml.Node | None, location: Location, seen: set[int]) -> Iterator[Fault]:
    if id(node) in seen:
        return  # an alias
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            yield from _said_twice(item, (*location, place), seen)
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                yield Fault((*location, name), f"stands in line {lines[name]} already", line)
            lines[name] = line
            yield from _said_twice(value, (*location, name), seen)


def _entry(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """What carries the line, and what is there."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


_WORDS = {
    "missing": "required field missing",
    "extra_forbidden": "unknown field",
    "string_type": "expected a string",
    "int_type": "expected an integer",
    "int_from_float": "expected an integer",
    "float_type": "expected a number",
    "bool_type": "expected a boolean",
    "list_type": "expected an array",
    "dict_type": "expected a record",
    "model_type": "expected a record",
}


def words(error: Any) -> str:
    """Kong's words for one of pydantic's errors, where Kong has some."""
    if error["type"] in _WORDS:
        return _WORDS[error["type"]]
    if error["type"] == "literal_error":
        return "expected one of: " + str(error["ctx"]["expected"]).replace(" or ", ", ").replace("'", "")
    message = str(error["msg"])
    own = message.removeprefix("Value error, ")
    return own if own != message else message[:1].lower() + message[1:]


def tree(faults: Sequence[Fault]) -> dict[str, Any]:
    """The faults in the shape of the file, as Kong answers them: lists with null where nothing is wrong."""
    root: dict[str, Any] = {}
    for fault in faults:
        _plant(root, fault.location, fault.message)
    return root


def _plant(into: Any, location: Location, message: str) -> None:
    location = location or ("@entity", 0)
    for part, following in zip(location, [*location[1:], None], strict=True):
        if isinstance(part, int):
            into.extend([None] * (part + 1 - len(into)))
        present = into[part] if isinstance(part, int) else into.get(part)
        if following is None:
            into[part] = message if present is None else present
            return
        if not isinstance(present, list if isinstance(following, int) else dict):
            present = into[part] = [] if isinstance(following, int) else {}
        into = present
