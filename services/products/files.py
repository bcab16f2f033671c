"""`python -m services.products.files import FILE` and `... export FILE`: the catalogue to and from files.

An import may be stopped at any moment and given the same file again: it goes on where it was. Progress is told on
standard output, a JSON object a line; each refused row goes to FILE.refused.jsonl.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import mongoengine
import pymongo
from pymongo.collection import Collection
from pymongo.errors import ConnectionFailure

from chassis.base import telemetry
from chassis.base.problems import Invalid
from chassis.storage import store
from services.products import bulk, kept, rows
from services.products.app import service
from services.products.finding.choice import finder
from services.products.models import Product
from services.products.rows import Format, Row

BATCH_SECONDS = 60
"""Longest for one batch: nobody waits for an answer, and the server may be busy."""

USAGE = "usage: python -m services.products.files import|export FILE.csv|FILE.jsonl"


class Counting:
    """The lines of a file, and how many bytes were read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.read_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        while line := self._file.readline(rows.MAX_LINE_LENGTH * 4):
            self.read_bytes += len(line)
            yield line


class Checkpoint:
    """How far the import of one file has come, kept in the database beside what it brought."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as content:
            self._id = hashlib.file_digest(content, "sha256").hexdigest()

    def read(self) -> tuple[int, dict[str, int], int]:
        """Rows that were dealt with, what they came to, and how many bytes the report of refused ones had then."""
        known = _imports().find_one({"_id": self._id}) or {}
        return known.get("rows", 0), known.get("counts", {}), known.get("reported", 0)

    def write(self, row_count: int, counts: dict[str, int], reported: int) -> None:
        reached = {"rows": row_count, "counts": counts, "reported": reported}
        _imports().update_one({"_id": self._id}, {"$set": reached}, upsert=True)

    def finish(self) -> None:
        """The same file again is another import."""
        _imports().delete_one({"_id": self._id})


def _imports() -> "Collection[Any]":
    return mongoengine.get_db()["imports"]


def import_(path: Path, take: Callable[[list[Row]], bulk.Report] = bulk.take) -> dict[str, int]:
    """What the rows came to. Raises Invalid when the file as a whole is not one of ours."""
    format_ = format_of(path)
    checkpoint, size = Checkpoint(path), path.stat().st_size
    done, earlier, reported = checkpoint.read()
    counts = Counter(earlier)
    refused_path = path.with_name(f"{path.name}.refused.jsonl")
    with path.open("rb") as file, refused_path.open("a", encoding="utf-8") as refused:
        # What was reported and then not noted as done is about to be reported again.
        refused.truncate(min(reported, refused_path.stat().st_size))
        lines = Counting(file)
        products = rows.read(lines, format_)
        _tell(at=0, of=size, skipped=sum(1 for _ in islice(products, done)), **counts)
        while batch := list(islice(products, bulk.BATCH)):
            with pymongo.timeout(BATCH_SECONDS):
                report = take(batch)
            for row in report.refused:
                refused.write(as_json(row) + "\n")
            refused.flush()
            counts += report.counts
            done += len(batch)
            checkpoint.write(done, counts, refused_path.stat().st_size)
            _make_known(report)
            _tell(at=lines.read_bytes, of=size, **counts)
    checkpoint.finish()
    if not counts[bulk.REFUSED]:
        refused_path.unlink()
    return dict(counts)


def as_json(row: Row) -> str:
    told = {name: value for name, value in asdict(row).items() if name != "product" and value != ""}
    return json.dumps(told, ensure_ascii=False)


def _make_known(report: bulk.Report) -> None:
    if report.product_ids:
        kept.forget(*report.product_ids)
        kept.forget_lists()
        ids = [str(product_id) for product_id in report.product_ids]
        finder().learn([product.to_mongo().to_dict() for product in Product.objects(id__in=ids)])


def export(path: Path) -> int:
    """How many products were written. The file appears when it is whole."""
    part = path.with_name(f"{path.name}.part")
    written = 0

    def counted() -> Iterable[Product]:
        nonlocal written
        for product in bulk.everything():
            yield product
            written += 1
            if written % 1_000 == 0:
                _tell(exported=written)

    with part.open("w", encoding="utf-8", newline="") as file:
        file.writelines(rows.write(counted(), format_of(path)))
    part.replace(path)
    return written


def format_of(path: Path) -> Format:
    if path.suffix not in (".csv", ".jsonl"):
        raise Invalid(f"{path.name}: its name must end in .csv or .jsonl.")
    return "csv" if path.suffix == ".csv" else "jsonl"


def _tell(**progress: int) -> None:
    print(json.dumps(progress), flush=True)


def main() -> None:
    if len(sys.argv) != 3 or sys.argv[1] not in ("import", "export"):
        sys.exit(USAGE)
    path = Path(sys.argv[2])
    # Standard output tells the progress and nothing else.
    telemetry.configure_logging(service.name, "critical")
    try:
        with store.active(service.store):
            if sys.argv[1] == "import":
                counts = import_(path)
                sys.exit(1 if counts.get(bulk.REFUSED) else 0)
            _tell(exported=export(path))
    except Invalid as problem:
        sys.exit(problem.detail)
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")
    except ConnectionFailure as error:
        sys.exit(f"MongoDB does not answer; the same command goes on where this one stopped. {error}"[:300])


if __name__ == "__main__":
    main()
