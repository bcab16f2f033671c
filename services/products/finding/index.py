"""The search index in a file, SQLite with FTS5, for a database that has no text search of its own.

In a file, because memory is paid per process: several processes of one machine read the same, and a restart finds it built.
"""

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts import money
from services.products.finding import ranking, slips
from services.products.finding.words import words

SCHEMA = Path(__file__).with_name("schema.sql")
FORMAT = "3"
"""Part of the file's name: a release that writes another schema starts another file."""

BUSY_SECONDS = 3.0


@dataclass(frozen=True)
class Entry:
    """What the index knows of one product."""

    product_id: str
    version: int
    columns: tuple[Any, ...]
    """is_active, category, price, in_stock, sold_quantity, created_at, name: as the table has them."""
    texts: ranking.Texts

    @property
    def category_on_sale(self) -> str:
        """ "" when it is not on sale."""
        is_active, category = self.columns[:2]
        return str(category) if is_active else ""

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Entry":
        """The entry of a product as the database keeps it."""
        columns = (
            int(document["is_active"]),
            document["category"],
            money.to_minor(document["price"].to_decimal()),
            int(document["stock_quantity"] > 0),
            document["sold_quantity"],
            round(document["created_at"].timestamp() * 1000),
            document["name"],
        )
        return cls(document["_id"], document["version"], columns, texts_of(document))


def texts_of(document: dict[str, Any]) -> ranking.Texts:
    """A product's words; `document` as the database keeps it."""
    return ranking.texts(
        words(document["name"]), words(f"{document['category']} {document['sku']}"), words(document["description"])
    )


def length_word(count: int) -> str:
    """The word for a name of so many words."""
    return f"w{count}"


class Index:
    """One file. Threads have connections of their own, and processes may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.connection.executescript(SCHEMA.read_text(encoding="utf-8"))

    @property
    def connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            # What a power cut takes away is read again from the database.
            connection.execute("PRAGMA synchronous = OFF")
            self._local.connection = connection
        return connection

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, values).fetchall()

    def state(self, name: str) -> str:
        """ "" for what was never said."""
        found = self.rows("SELECT value FROM state WHERE name = ?", name)
        return str(found[0][0]) if found else ""

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One writer at a time, over all processes; kept whole or not at all."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def remember(writer: sqlite3.Connection, **state: Any) -> None:
    writer.executemany("REPLACE INTO state VALUES (?, ?)", [(name, str(value)) for name, value in state.items()])


def clear(writer: sqlite3.Connection) -> None:
    for table in ("products", "texts", "names", "words", "slips", "categories", "state"):
        writer.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours


def keep(writer: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Bring these products in; what the index knows in this version or a later one stays."""
    words_moved: Counter[str] = Counter()
    categories_moved: Counter[str] = Counter()
    for entry in entries:
        row = _known(writer, entry.product_id)
        if row is not None and row.version >= entry.version:
            continue
        if row is None:
            row_id = _add(writer, entry)
        else:
            row_id = row.row_id
            _change(writer, row_id, entry)
            categories_moved[row.category_on_sale] -= 1
        _write_texts(writer, row_id, entry.texts, words_moved, is_new=row is None)
        categories_moved[entry.category_on_sale] += 1
    _count(writer, words_moved, categories_moved)


@dataclass(frozen=True)
class _Known:
    row_id: int
    version: int
    category_on_sale: str
    """"" when it is not on sale."""


def _known(writer: sqlite3.Connection, product_id: str) -> _Known | None:
    query = "SELECT row, version, iif(is_active, category, '') FROM products WHERE id = ?"
    found = writer.execute(query, (product_id,)).fetchone()
    return _Known(*found) if found else None


def _add(writer: sqlite3.Connection, entry: Entry) -> int:
    added = writer.execute(
        "INSERT INTO products (id, version, is_active, category, price, in_stock, sold_quantity, created_at, name)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (entry.product_id, entry.version, *entry.columns),
    )
    assert added.lastrowid is not None
    return added.lastrowid


def _change(writer: sqlite3.Connection, row_id: int, entry: Entry) -> None:
    writer.execute(
        "UPDATE products SET version = ?, is_active = ?, category = ?, price = ?, in_stock = ?, sold_quantity = ?,"
        " created_at = ?, name = ? WHERE row = ?",
        (entry.version, *entry.columns, row_id),
    )


def _write_texts(
    writer: sqlite3.Connection, row_id: int, texts: ranking.Texts, words_moved: Counter[str], *, is_new: bool
) -> None:
    """The most frequent change is of stock, which leaves the texts as they are."""
    fields = (texts.name, texts.category, texts.description)
    if not is_new:
        before = writer.execute("SELECT name, category, description FROM texts WHERE rowid = ?", (row_id,)).fetchone()
        if before == fields:
            return
        words_moved.subtract(set(" ".join(before).split()))
        for table in ("texts", "names"):
            writer.execute(f"DELETE FROM {table} WHERE rowid = ?", (row_id,))  # noqa: S608 - names of ours
    writer.execute("INSERT INTO texts (rowid, name, category, description) VALUES (?, ?, ?, ?)", (row_id, *fields))
    length = length_word(len(texts.name.split()))
    writer.execute(
        "INSERT INTO names (rowid, name, category, length) VALUES (?, ?, ?, ?)",
        (row_id, texts.name, texts.category, length),
    )
    words_moved.update(set(texts.words()))


_COUNT_WORD = "UPDATE words SET products = products + ? WHERE word = ?"


def _count(writer: sqlite3.Connection, words_moved: Counter[str], categories_moved: Counter[str]) -> None:
    for word, moved in words_moved.items():
        if moved and not writer.execute(_COUNT_WORD, (moved, word)).rowcount:
            writer.execute("INSERT INTO words VALUES (?, ?)", (word, moved))
            writer.executemany("INSERT INTO slips VALUES (?, ?)", [(key, word) for key in slips.keys(word)])
        elif moved < 0 and writer.execute("DELETE FROM words WHERE word = ? AND products <= 0", (word,)).rowcount:
            writer.executemany(
                "DELETE FROM slips WHERE key = ? AND word = ?", [(key, word) for key in slips.keys(word)]
            )
    writer.executemany(
        "INSERT INTO categories VALUES (?, ?) ON CONFLICT DO UPDATE SET products = products + excluded.products",
        [(category, moved) for category, moved in categories_moved.items() if moved and category],
    )
    writer.execute("DELETE FROM categories WHERE products <= 0")
