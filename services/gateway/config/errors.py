"""Errors in a declarative file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Location = tuple[str | int, ...]
"""Like `("services", 0, "routes", 1, "paths")`."""


@dataclass(frozen=True, slots=True)
class ConfigError:
    location: Location
    message: str
    line: int = 0
    """From 1; 0: unknown."""

    @property
    def place(self) -> str:
        text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.location)
        return text.removeprefix(".") or "file"

    def __str__(self) -> str:
        return f"line {self.line}: {self.place}: {self.message}" if self.line else f"{self.place}: {self.message}"


class InvalidConfiguration(Exception):
    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = sorted(errors, key=lambda error: error.line)


class Lines:
    """Line of each place in a document."""

    def __init__(self, root: yaml.Node | None) -> None:
        self._root = root

    def of(self, location: Location) -> int:
        """Falls back to the nearest enclosing place."""
        node, line = self._root, self._root.start_mark.line + 1 if self._root else 0
        for part in location:
            entry = _entry(node, part)
            if entry is None:
                break
            key, node = entry
            line = key.start_mark.line + 1
        return line

    def duplicate_keys(self) -> Iterator[ConfigError]:
        """YAML silently keeps the last."""
        return _duplicate_keys(self._root, (), set())


def _duplicate_keys(node: yaml.Node | None, location: Location, seen: set[int]) -> Iterator[ConfigError]:
    if id(node) in seen:
        return  # an alias
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            yield from _duplicate_keys(item, (*location, place), seen)
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                yield ConfigError((*location, name), f"duplicate key, first used on line {lines[name]}", line)
            lines[name] = line
            yield from _duplicate_keys(value, (*location, name), seen)


def _entry(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node with the line, and the value."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


_MESSAGES = {
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


def message_of(error: Any) -> str:
    """Kong's message, where it has one."""
    if error["type"] in _MESSAGES:
        return _MESSAGES[error["type"]]
    if error["type"] == "literal_error":
        if not isinstance(error["input"], str) and "'" in str(error["ctx"]["expected"]):
            return "expected a string"
        return "expected one of: " + str(error["ctx"]["expected"]).replace(" or ", ", ").replace("'", "")
    message = str(error["msg"])
    own = message.removeprefix("Value error, ")
    return own if own != message else message[:1].lower() + message[1:]


def as_lua(value: Any) -> str:
    """In Kong's notation for a message: `{services={[2]={host="required field missing"}}}`."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_lua_name(name)}={as_lua(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        has_gaps = None in value
        places = [(place, each) for place, each in enumerate(value, 1) if each is not None]
        return "{" + ",".join((f"[{place}]=" if has_gaps else "") + as_lua(each) for place, each in places) + "}"
    return json.dumps(value, ensure_ascii=False)


def _lua_name(name: str) -> str:
    return name if name.isidentifier() else f'["{name}"]'


def as_tree(errors: Sequence[ConfigError]) -> dict[str, Any]:
    """The file's structure, with null where nothing is wrong."""
    root: dict[str, Any] = {}
    for error in errors:
        _insert(root, error.location, error.message)
    return root


def _insert(into: Any, location: Location, message: str) -> None:
    location = location or ("error",)
    for part, following in zip(location, [*location[1:], None], strict=True):
        if isinstance(part, int):
            into.extend([None] * (part + 1 - len(into)))
        current = into[part] if isinstance(part, int) else into.get(part)
        if following is None:
            into[part] = message if current is None else current
            return
        if not isinstance(current, list if isinstance(following, int) else dict):
            current = into[part] = [] if isinstance(following, int) else {}
        into = current
