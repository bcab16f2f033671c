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


def change_headers(fields: Fields, config: Any, render: Render = unchanged) -> None:
    for name in config.remove.headers:
        fields.remove(name.partition(":")[0])
    for old, new in pairs(config.rename.headers):
        if old in fields:
            values = fields.all(old)
            fields.remove(old)
            fields.remove(new)
            for value in values:
                fields.add(new, value)
    for name, value in _rendered(config.replace.headers, render):
        if name in fields:
            fields.set(name, value)
    for name, value in _rendered(config.add.headers, render):
        if name not in fields:
            fields.add(name, value)
    for name, value in _rendered(config.append.headers, render):
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
        if before is None:
            record[name] = [value]
        elif isinstance(before, list):
            record[name] = [*before, value]
        else:
            record[name] = [before, value]


def _rendered(items: Sequence[str], render: Render) -> list[Change]:
    made = [(name, render(value)) for name, value in pairs(items)]
    return [(name, value) for name, value in made if value is not None]
