"""Products as rows of a CSV or JSON Lines file."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from pydantic import ValidationError

from chassis.base.problems import Invalid
from services.products.models import Product
from services.products.schemas import NewProduct

Format = Literal["csv", "jsonl"]

COLUMNS = tuple(NewProduct.model_fields)
REQUIRED = tuple(name for name, field in NewProduct.model_fields.items() if field.is_required())

MAX_LINE_LENGTH = 65_536
"""In characters; the longest valid product needs a tenth of it."""


@dataclass(frozen=True)
class Row:
    """A product, or why it is refused. `line` is the first of its lines, from 1."""

    line: int
    product: NewProduct | None
    sku: str = ""
    field: str = ""
    reason: str = ""


def read(lines: Iterable[bytes], format_: Format) -> Iterator[Row]:
    """Raises Invalid for a CSV header with other columns."""
    decoded = (line.decode("utf-8", "surrogateescape") for line in lines)
    return _from_csv(decoded) if format_ == "csv" else _from_json_lines(decoded)


def _from_json_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        text = line.lstrip("\ufeff") if number == 1 else line
        if text.strip():
            yield _row(number, text, partial(NewProduct.model_validate_json, text), _sku_in(text))


def _sku_in(text: str) -> str:
    try:
        return str(json.loads(text)["sku"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def _from_csv(lines: Iterable[str]) -> Iterator[Row]:
    reader = csv.reader(_without_byte_order_mark(lines), strict=True)
    header = [name.strip() for name in next(_records(reader), (0, [""], ""))[1] or []]
    _expect_columns(header)
    for number, cells, error in _records(reader):
        if error or cells is None:
            yield Row(number, None, reason=f"is not CSV: {error}")
        elif len(cells) != len(header):
            yield Row(number, None, reason=f"has {len(cells)} cells, the header has {len(header)}")
        elif any(cells):
            # An empty cell is a missing field.
            given = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
            parse = partial(NewProduct.model_validate_strings, given)
            yield _row(number, "\n".join(cells), parse, given.get("sku", ""))


def _without_byte_order_mark(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line.lstrip("\ufeff") if number == 0 else line


def _records(reader: Any) -> Iterator[tuple[int, list[str] | None, str]]:
    """The first line of each record, with its cells or the error."""
    while True:
        first = reader.line_num + 1
        try:
            yield first, next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            yield first, None, str(error)


def _expect_columns(header: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if missing or unknown or len(set(header)) < len(header):
        wrong = "has a duplicate column"
        if missing or unknown:
            wrong = f"lacks {', '.join(missing)}" if missing else f"has unknown columns: {', '.join(unknown)[:200]}"
        raise Invalid(f"The header {wrong}; the columns are {', '.join(COLUMNS)}.")


def _row(number: int, text: str, parse: Callable[[], NewProduct], sku: str) -> Row:
    sku = sku.encode("utf-8", "replace").decode()[:64]
    if len(text) > MAX_LINE_LENGTH:
        return Row(number, None, reason="is too long")
    if "\0" in text or "\\u0000" in text:
        return Row(number, None, sku, reason="contains a NUL character")
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        return Row(number, None, sku, reason="is not UTF-8")
    try:
        product = parse()
    except ValidationError as error:
        first = error.errors()[0]
        return Row(number, None, sku, ".".join(map(str, first["loc"])), first["msg"])
    return Row(number, product, product.sku)


def write(products: Iterable[Product], format_: Format) -> Iterator[str]:
    """Reverse `read`."""
    if format_ == "csv":
        yield _csv_line(COLUMNS)
    for product in products:
        cells = {name: getattr(product, name) for name in COLUMNS} | {"price": str(product.price)}
        if format_ == "csv":
            yield _csv_line(str(value).lower() if isinstance(value, bool) else value for value in cells.values())
        else:
            yield json.dumps(cells, ensure_ascii=False) + "\n"


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()
