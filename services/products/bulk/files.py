"""Catalogue files. An interrupted import resumes when run again."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import mongoengine
import pymongo
from pymongo.collection import Collection

from chassis.base.problems import Invalid
from services.products import changes
from services.products.bulk import rows
from services.products.bulk.formats import Format
from services.products.bulk.rows import Row, Rows
from services.products.bulk.upsert import BATCH, REFUSED, Report, add_missing, all_products, upsert
from services.products.models import Product

BATCH_TIMEOUT_SECONDS = 60
"""No client waits, so longer than a request."""

SEED_TIMEOUT_SECONDS = 120
"""Hundreds of inserts on a busy starting machine."""

CATALOGUE = Path(__file__).parents[1] / "catalogue.jsonl"

Notify = Callable[..., None]


def seed(path: Path = CATALOGUE) -> int:
    """Products added. Raises Invalid for a bad line."""
    with path.open("rb") as lines, pymongo.timeout(SEED_TIMEOUT_SECONDS):
        return add_missing(Rows(lines, format_of(path)))


class Checkpoint:
    """Progress of an import, stored in the database."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as content:
            self._id = hashlib.file_digest(content, "sha256").hexdigest()

    def read(self) -> tuple[int, dict[str, int], int]:
        """Rows done, outcomes, report size in bytes."""
        state = _imports().find_one({"_id": self._id}) or {}
        return state.get("rows", 0), state.get("counts", {}), state.get("reported", 0)

    def write(self, row_count: int, counts: dict[str, int], reported: int) -> None:
        state = {"rows": row_count, "counts": counts, "reported": reported}
        _imports().update_one({"_id": self._id}, {"$set": state}, upsert=True)

    def delete(self) -> None:
        _imports().delete_one({"_id": self._id})


def _imports() -> "Collection[Any]":
    return mongoengine.get_db()["imports"]


def import_file(path: Path, notify: Notify, write: Callable[[list[Row]], Report] = upsert) -> dict[str, int]:
    """Outcomes and `lines`; refused rows go to FILE.refused.jsonl.

    Raises Invalid for another format.
    """
    format_ = format_of(path)
    checkpoint, size = Checkpoint(path), path.stat().st_size
    done, earlier, reported = checkpoint.read()
    counts = Counter(earlier)
    refused_path = path.with_name(f"{path.name}.refused.jsonl")
    with path.open("rb") as file, refused_path.open("a", encoding="utf-8") as refused:
        # Rows after the last checkpoint will be reported again.
        refused.truncate(min(reported, refused_path.stat().st_size))
        read = Rows(file, format_)
        remaining = iter(read)
        notify(at=0, of=size, skipped=sum(1 for _ in islice(remaining, done)), **counts)
        while batch := list(islice(remaining, BATCH)):
            with pymongo.timeout(BATCH_TIMEOUT_SECONDS):
                report = write(batch)
            for row in report.refused:
                refused.write(_as_json(row) + "\n")
            refused.flush()
            counts += report.counts
            done += len(batch)
            checkpoint.write(done, counts, refused_path.stat().st_size)
            if report.product_ids:
                changes.publish(report.product_ids)
            notify(at=read.read_bytes, of=size, **counts)
    checkpoint.delete()
    notify(at=size, of=size, **counts, lines=read.lines)
    if not counts[REFUSED]:
        refused_path.unlink()
    return {**counts, "lines": read.lines}


def _as_json(row: Row) -> str:
    fields = {name: value for name, value in asdict(row).items() if name != "product" and value != ""}
    return json.dumps(fields, ensure_ascii=False)


def export_file(path: Path, notify: Notify) -> int:
    """Products written. The file appears only when complete."""
    part = path.with_name(f"{path.name}.part")
    written = 0

    def counted() -> Iterable[Product]:
        nonlocal written
        for product in all_products():
            yield product
            written += 1
            if written % 1_000 == 0:
                notify(exported=written)

    with part.open("w", encoding="utf-8", newline="") as file:
        file.writelines(rows.write(counted(), format_of(path)))
    part.replace(path)
    return written


def format_of(path: Path) -> Format:
    if path.suffix not in (".csv", ".jsonl"):
        raise Invalid(f"{path.name}: the file name must end in .csv or .jsonl.")
    return "csv" if path.suffix == ".csv" else "jsonl"
