"""Header fields: ordered, repeatable, names case-insensitive (kept in lower case too: they are looked up often)."""

from collections.abc import Iterable, Iterator, Set


class Fields:
    __slots__ = ("_items", "_names")

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._replace(list(items))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._names

    def get(self, name: str) -> str | None:
        """First of that name."""
        wanted = name.lower()
        return self._items[self._names.index(wanted)][1] if wanted in self._names else None

    def all(self, name: str) -> list[str]:
        wanted = name.lower()
        if wanted not in self._names:
            return []
        return [value for lower, (_, value) in zip(self._names, self._items, strict=True) if lower == wanted]

    def add(self, name: str, value: str) -> None:
        self._items.append((name, value))
        self._names.append(name.lower())

    def set(self, name: str, value: str) -> None:
        """Replaces all of that name."""
        self.remove(name)
        self.add(name, value)

    def remove(self, name: str) -> None:
        wanted = name.lower()
        if wanted in self._names:
            self._replace([item for item in self._items if item[0].lower() != wanted])

    def remove_all(self, names: Set[str]) -> None:
        """`names`: in lower case."""
        if any(name in names for name in self._names):
            self._replace([item for item in self._items if item[0].lower() not in names])

    def rename(self, old: str, new: str) -> None:
        wanted = old.lower()
        self._replace([(new if name.lower() == wanted else name, value) for name, value in self._items])

    def _replace(self, items: list[tuple[str, str]]) -> None:
        self._items = items
        self._names = [name.lower() for name, _ in items]

    def head(self, first_line: str) -> bytes:
        """`first_line`, the fields and an empty line.

        Values are latin-1 (wire) or UTF-8 (configuration). Line breaks become spaces: none can start another header.
        """
        lines = [first_line, *[f"{name}: {value}" for name, value in self._items], "", ""]
        text = "\r\n".join(lines)
        if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
            text = "\r\n".join(" ".join(line.replace("\0", " ").splitlines()) for line in lines)
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            return b"\r\n".join(_encoded(line) for line in text.split("\r\n"))


def _encoded(line: str) -> bytes:
    try:
        return line.encode("latin-1")
    except UnicodeEncodeError:
        return line.encode("utf-8", "replace")
