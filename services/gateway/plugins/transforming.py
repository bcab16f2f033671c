"""Shared by both transformers."""

from collections.abc import Callable, Sequence
from typing import Any

from services.gateway.wire.fields import Fields

Change = tuple[str, str]
Render = Callable[[str], str | None]
"""The actual value of a configured one, or None."""


def pairs(items: Sequence[str]) -> list[Change]:
    return [(name, value) for name, _, value in (item.partition(":") for item in items)]


def unchanged(value: str) -> str | None:
    return value


class HeaderChanges:
    """A configuration's, prepared: requests are many."""

    def __init__(self, config: Any) -> None:
        self._removed = frozenset(name.partition(":")[0].lower() for name in config.remove.headers)
        self._renamed, self._replaced = pairs(config.rename.headers), pairs(config.replace.headers)
        self._added, self._appended = pairs(config.add.headers), pairs(config.append.headers)

    def __bool__(self) -> bool:
        return bool(self._removed or self._renamed or self._replaced or self._added or self._appended)

    def apply(self, fields: Fields, render: Render = unchanged) -> None:
        if self._removed:
            fields.remove_all(self._removed)
        for old, new in self._renamed:
            if old in fields:
                values = fields.all(old)
                fields.remove(old)
                fields.remove(new)
                for value in values:
                    fields.add(new, value)
        for name, value in _rendered(self._replaced, render):
            if name in fields:
                fields.set(name, value)
        for name, value in _rendered(self._added, render):
            if name not in fields:
                fields.add(name, value)
        for name, value in _rendered(self._appended, render):
            fields.add(name, value)


def change_record(record: dict[str, Any], config: Any, kind: str, render: Callable[[str, str, int], Any]) -> None:
    """The same, from the lists named `kind`. `render` gets step, value and index."""

    def changes(step: str) -> list[tuple[str, Any]]:
        listed = pairs(getattr(getattr(config, step), kind))
        made = [(name, render(step, value, place)) for place, (name, value) in enumerate(listed)]
        return [(name, value) for name, value in made if value is not None]

    for name in getattr(config.remove, kind):
        record.pop(name.partition(":")[0], None)
    for old, new in pairs(getattr(config.rename, kind)):
        if old in record:
            record[new] = record.pop(old)
    for name, value in changes("replace"):
        if name in record:
            record[name] = value
    for name, value in changes("add"):
        record.setdefault(name, value)
    for name, value in changes("append"):
        before = record.get(name)
        if isinstance(before, list):
            record[name] = [*before, value]
        else:
            # Like Kong, drop a number.
            record[name] = [before, value] if isinstance(before, str) else [value]


def _rendered(changes: Sequence[Change], render: Render) -> list[Change]:
    return [(name, value) for name, template in changes if (value := render(template)) is not None]
