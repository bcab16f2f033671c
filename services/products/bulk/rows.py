"""Products as CSV or JSON Lines rows.

Every line is accounted for. An unclosed quote costs only its own line.
"""

import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO, NamedTuple

from pydantic import ValidationError

from chassis.base import validation
from chassis.base.problems import Invalid, Malformed
from chassis.web import json_text
from services.products.bulk import formats
from services.products.bulk.formats import COLUMNS, Format
from services.products.models import Product
from services.products.schemas import NewProduct

MAX_LINE_LENGTH = 65_536
"""In characters; ten times the longest valid product."""

_CUT_BYTES = 4 * MAX_LINE_LENGTH + 4
"""UTF-8 takes up to 4 bytes per character."""

# Spreadsheets run cells that begin like this, full-width signs too; an apostrophe prevents it.
_FORMULA = re.compile("['\\s]*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
_QUOTED = re.compile('[",\r\n]|^\\s|\\s$')

_UNCLOSED = "opens a quote that is not closed"


@dataclass(frozen=True)
class Row:
    """A product, or why it is refused; lines count from 1."""

    line: int
    last_line: int
    product: NewProduct | None
    sku: str = ""
    field: str = ""
    reason: str = ""


class Rows:
    """Iterating raises Invalid for another format or other columns."""

    def __init__(self, file: BinaryIO, format_: Format) -> None:
        self._file = file
        self._format = format_
        self.lines = 0
        self.read_bytes = 0

    def __iter__(self) -> Iterator[Row]:
        formats.check(self._file, self._format)
        return _from_csv(self._decoded()) if self._format == "csv" else _from_json_lines(self._decoded())

    def _decoded(self) -> Iterator[str]:
        while line := self._read():
            self.lines += 1
            text = line.decode("utf-8", "surrogateescape")
            yield text.lstrip("\ufeff") if self.lines == 1 else text

    def _read(self) -> bytes:
        line = part = self._file.readline(_CUT_BYTES)
        self.read_bytes += len(part)
        while part and not part.endswith(b"\n"):
            part = self._file.readline(_CUT_BYTES)
            self.read_bytes += len(part)
        return line


def _from_json_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _row(number, number, line, partial(_from_json, line), _sku_in(line))


def _from_json(text: str) -> NewProduct:
    json_text.check(text.encode())
    return NewProduct.model_validate_json(text)


def _sku_in(text: str) -> str:
    try:
        return str(json.loads(text)["sku"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def _from_csv(lines: Iterable[str]) -> Iterator[Row]:
    records = _Records(lines)
    following = iter(records)
    header = formats.header(next((record.lines[0] for record in following), ""))
    for record in following:
        wrong = _wrong_shape(record, header)
        if wrong:
            records.read_again_behind(record)
            yield Row(record.number, record.number, None, reason=wrong)
        elif not record.is_blank:
            yield _row(record.number, record.last, "\n".join(record.cells), *_strings(record.cells, header))


def _strings(cells: list[str], header: list[str]) -> tuple[Callable[[], NewProduct], str]:
    given = {name: _without_apostrophe(cell) for name, cell in zip(header, cells, strict=True) if cell}
    return partial(_from_strings, given), given.get("sku", "")


def _from_strings(given: dict[str, str]) -> NewProduct:
    quantity = given.get("stock_quantity", "0")
    if not re.fullmatch("-?[0-9]+", quantity):
        # Pydantic would take "5\n" and "1_0" too.
        raise Invalid.fields(("stock_quantity", "must be an integer"))
    return NewProduct.model_validate_strings(given)


class _Record(NamedTuple):
    number: int
    lines: list[str]
    cells: list[str]
    error: str

    @property
    def last(self) -> int:
        return self.number + len(self.lines) - 1

    @property
    def is_blank(self) -> bool:
        return not self.error and not "".join(self.cells).strip()


class _Records:
    """CSV records. After a bad one, reading resumes at its second line."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._again: deque[str] = deque()
        self._number = 1

    def __iter__(self) -> Iterator[_Record]:
        while True:
            taken: list[str] = []
            cells, error = _parsed(self._next_lines(taken))
            if not taken:
                return
            record = _Record(self._number, taken, cells, error)
            self._number += len(taken)
            yield record

    def read_again_behind(self, record: _Record) -> None:
        self._again.extendleft(reversed(record.lines[1:]))
        self._number = record.number + 1

    def _next_lines(self, taken: list[str]) -> Iterator[str]:
        length = 0
        while length <= MAX_LINE_LENGTH:
            line = self._again.popleft() if self._again else next(self._lines, None)
            if line is None:
                return
            taken.append(line)
            length += len(line)
            yield line


def _parsed(lines: Iterable[str]) -> tuple[list[str], str]:
    try:
        return next(csv.reader(lines, strict=True), []), ""
    except csv.Error as error:
        return [], str(error)


def _wrong_shape(record: _Record, header: list[str]) -> str:
    if record.error:
        if len(record.lines) == 1 and len(record.lines[0]) > MAX_LINE_LENGTH:
            return "is too long"
        is_unclosed = len(record.lines) > 1 or "end of data" in record.error
        return _UNCLOSED if is_unclosed else f"is not CSV: {record.error.partition(' - ')[0]}"
    if record.is_blank:
        return ""
    if len(record.cells) != len(header):
        return f"has {len(record.cells)} cells, the header has {len(header)}"
    return _UNCLOSED if _has_swallowed(record, header) else ""


def _has_swallowed(record: _Record, header: list[str]) -> bool:
    """Whether a line inside is itself a product: another row closed the quote."""
    # The last line of a description in the first column looks like a row.
    behind = record.lines[1:-1] if header[0] == "description" else record.lines[1:]
    return any(_is_product(line, header) for line in behind)


def _is_product(line: str, header: list[str]) -> bool:
    cells, error = _parsed([line])
    if error or len(cells) != len(header):
        return False
    parse, sku = _strings(cells, header)
    return _row(0, 0, line, parse, sku).product is not None


def _row(first: int, last: int, text: str, parse: Callable[[], NewProduct], sku: str) -> Row:
    sku = sku.encode("utf-8", "replace").decode()[:64]
    if len(text) > MAX_LINE_LENGTH:
        return Row(first, last, None, reason="is too long")
    if "\0" in text:
        return Row(first, last, None, sku, reason="contains a NUL character")
    if any("\udc80" <= letter <= "\udcff" for letter in text):
        return Row(first, last, None, sku, reason="is not UTF-8")
    try:
        product = parse()
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        return Row(first, last, None, sku, validation.field(wrong), validation.message(wrong))
    except Malformed as problem:
        return Row(first, last, None, sku, reason=problem.detail)
    except Invalid as problem:
        named = problem.extensions["errors"][0]
        return Row(first, last, None, sku, named["field"], named["message"])
    return Row(first, last, product, product.sku)


def write(products: Iterable[Product], format_: Format) -> Iterator[str]:
    if format_ == "csv":
        yield ",".join(COLUMNS) + "\n"
    for product in products:
        cells = {name: getattr(product, name) for name in COLUMNS} | {"price": str(product.price)}
        if format_ == "csv":
            yield ",".join(map(_cell, cells.values())) + "\n"
        else:
            yield json.dumps(cells, ensure_ascii=False) + "\n"


def _cell(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if _FORMULA.match(text):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def _without_apostrophe(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell[1:]) else cell
