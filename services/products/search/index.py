"""The search index: an SQLite FTS5 file, derived from the database.

Shared by a machine's processes to save memory; survives restarts.
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
from services.products.search import ranking, typos
from services.products.search.words import words

SCHEMA = Path(__file__).with_name("schema.sql")
FORMAT = "4"
"""Schema version in the file name."""

BUSY_SECONDS = 3.0


@dataclass(frozen=True)
class Entry:
    product_id: str
    version: int
    columns: tuple[Any, ...]
    """is_active, category, price, in_stock, sold_quantity, created_at, name."""
    texts: ranking.Texts

    @property
    def category_on_sale(self) -> str:
        """Empty when off sale."""
        is_active, category = self.columns[:2]
        return str(category) if is_active else ""

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Entry":
        """`document`: as pymongo reads it."""
        columns = (
            int(document["is_active"]),
            document["category"],
            money.to_minor(document["price"].to_decimal()),
            int(document["stock_quantity"] > 0),
            document["sold_quantity"],
            round(document["created_at"].timestamp() * 1000),
            document["name"],
        )
        texts = ranking.texts(
            words(document["name"]), words(f"{document['category']} {document['sku']}"), words(document["description"])
        )
        return cls(document["_id"], document["version"], columns, texts)


def length_word(count: int) -> str:
    return f"w{count}"


class Index:
    """Connections are per thread; processes may share the file."""

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
            # Anything a power cut loses is read again.
            connection.execute("PRAGMA synchronous = OFF")
            self._local.connection = connection
        return connection

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, values).fetchall()

    def state(self, name: str) -> str:
        """Empty if never set."""
        found = self.rows("SELECT value FROM state WHERE name = ?", name)
        return str(found[0][0]) if found else ""

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, exclusive across processes."""
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite itself may have rolled back.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def set_state(writer: sqlite3.Connection, **state: Any) -> None:
    writer.executemany("REPLACE INTO state VALUES (?, ?)", [(name, str(value)) for name, value in state.items()])


def clear(writer: sqlite3.Connection) -> None:
    for table in ("products", "texts", "names", "words", "typos", "categories", "state"):
        writer.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours


def upsert(writer: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Ignores entries not newer than the index's."""
    words_moved: Counter[str] = Counter()
    categories_moved: Counter[str] = Counter()
    for entry in entries:
        row = _find(writer, entry.product_id)
        if row is not None and row.version >= entry.version:
            continue
        if row is None:
            row_id = _insert(writer, entry)
        else:
            row_id = row.row_id
            _update(writer, row_id, entry)
            categories_moved[row.category_on_sale] -= 1
        _write_texts(writer, row_id, entry.texts, words_moved, is_new=row is None)
        categories_moved[entry.category_on_sale] += 1
    _count(writer, words_moved, categories_moved)


@dataclass(frozen=True)
class _Row:
    row_id: int
    version: int
    category_on_sale: str


def _find(writer: sqlite3.Connection, product_id: str) -> _Row | None:
    query = "SELECT row, version, iif(is_active, category, '') FROM products WHERE id = ?"
    found = writer.execute(query, (product_id,)).fetchone()
    return _Row(*found) if found else None


def _insert(writer: sqlite3.Connection, entry: Entry) -> int:
    inserted = writer.execute(
        "INSERT INTO products (id, version, is_active, category, price, in_stock, sold_quantity, created_at, name)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (entry.product_id, entry.version, *entry.columns),
    )
    assert inserted.lastrowid is not None
    return inserted.lastrowid


def _update(writer: sqlite3.Connection, row_id: int, entry: Entry) -> None:
    writer.execute(
        "UPDATE products SET version = ?, is_active = ?, category = ?, price = ?, in_stock = ?, sold_quantity = ?,"
        " created_at = ?, name = ? WHERE row = ?",
        (entry.version, *entry.columns, row_id),
    )


def _write_texts(
    writer: sqlite3.Connection, row_id: int, texts: ranking.Texts, words_moved: Counter[str], *, is_new: bool
) -> None:
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
            writer.executemany("INSERT INTO typos VALUES (?, ?)", _typo_rows(word))
        elif moved < 0 and writer.execute("DELETE FROM words WHERE word = ? AND products <= 0", (word,)).rowcount:
            writer.executemany("DELETE FROM typos WHERE key = ? AND word = ?", _typo_rows(word))
    writer.executemany(
        "INSERT INTO categories VALUES (?, ?) ON CONFLICT DO UPDATE SET products = products + excluded.products",
        [(category, moved) for category, moved in categories_moved.items() if moved and category],
    )
    writer.execute("DELETE FROM categories WHERE products <= 0")


def _typo_rows(word: str) -> list[tuple[str, str]]:
    return [(key, word) for key in typos.index_keys(word)]
