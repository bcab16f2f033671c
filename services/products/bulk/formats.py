"""Detects the format of product files."""

from typing import BinaryIO, Literal, NoReturn

from chassis.base.problems import Invalid
from chassis.base.validation import shortened
from services.products.schemas import NewProduct

Format = Literal["csv", "jsonl"]

COLUMNS = tuple(NewProduct.model_fields)
REQUIRED = tuple(name for name, field in NewProduct.model_fields.items() if field.is_required())

_HEAD_BYTES = 1_024
_BINARIES = {
    b"PK\x03\x04": "an Excel workbook (XLSX) or another ZIP archive",
    b"\xd0\xcf\x11\xe0": "an Excel workbook (XLS)",
    b"\x1f\x8b": "compressed with gzip",
    b"%PDF": "a PDF document",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def check(file: BinaryIO, format_: Format) -> None:
    """Rewinds the file. Raises Invalid for another format."""
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    found = _recognized(head, format_)
    if found:
        wanted = "CSV" if format_ == "csv" else "JSON Lines (an object a line)"
        raise Invalid(f"The file is {found}; send {wanted} in UTF-8.")


def _recognized(head: bytes, format_: Format) -> str:
    for beginning, name in _BINARIES.items():
        if head.startswith(beginning):
            return name
    if len(head) > 1 and not (any(head[::2]) and any(head[1::2])):
        return "UTF-16 text"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"<"):
        return "HTML or XML"
    if format_ == "csv" and text.startswith((b"{", b"[")):
        return "JSON"
    if format_ == "jsonl" and text.startswith(b"[") and text[1:].lstrip().startswith(b"{"):
        return "a JSON array"
    if format_ == "jsonl" and text.startswith(b"sku,"):
        return "CSV"
    return ""


def header(line: str) -> list[str]:
    """Raises Invalid."""
    if line.lower().startswith("sep="):
        _refuse("begins with the line sep=, which only Excel understands; remove it")
    if "\udc80" <= max(line, default="") <= "\udcff":
        _refuse("is not UTF-8")
    for separator, name in _SEPARATORS.items():
        if line.count(separator) > line.count(","):
            _refuse(f"has columns separated by {name}; use commas")
    if "\r" in line.rstrip("\r\n"):
        _refuse("has lines that end in CR; use LF or CRLF")
    names = [name.strip().removeprefix('"').removesuffix('"') for name in line.rstrip("\r\n").split(",")]
    _expect_columns(names)
    return names


def _expect_columns(names: list[str]) -> None:
    if not any(names):
        _refuse("has no header")
    if not names[-1]:
        _refuse("has empty columns at the end; remove them")
    if capitals := [name for name in names if name not in COLUMNS and name.lower() in COLUMNS]:
        _refuse(f"has columns in capitals: {', '.join(capitals)}; write them in lower case")
    if unknown := [shortened(name) for name in names if name not in COLUMNS]:
        more = f" and {len(unknown) - 10:,} more" if len(unknown) > 10 else ""
        _refuse(f"has unknown columns: {', '.join(unknown[:10])}{more}")
    if missing := [name for name in REQUIRED if name not in names]:
        _refuse(f"lacks the columns {', '.join(missing)}")
    if len(set(names)) < len(names):
        _refuse("has a duplicate column")


def _refuse(wrong: str) -> NoReturn:
    raise Invalid(f"The file {wrong}; the columns are {', '.join(COLUMNS)}.")
