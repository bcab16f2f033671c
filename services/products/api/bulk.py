"""/products/import and /products/export: many products at once, for the staff."""

from collections.abc import Iterator
from itertools import islice

from flask import Response, request

from chassis.base.problems import Invalid, Problem
from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.products import bulk, reading, rows
from services.products.rows import Format
from services.products.schemas import ExportQuery, ImportReport, RefusedRow

FORMATS: dict[str, Format] = {"text/csv": "csv", "application/x-ndjson": "jsonl", "application/jsonl": "jsonl"}
MAX_ROWS = 1_000


class NotAFile(Problem):
    type, status, title = "/problems/unsupported-media", 415, "Only CSV and JSON lines are understood"


class TooLarge(Problem):
    type, status, title = "/problems/too-large", 413, "That is too much at once"


class Import(Resource):
    @endpoint(allow=auth.STAFF, raises=[NotAFile, TooLarge, Invalid])
    def post(self) -> ImportReport:
        """Add or change products from CSV or JSON lines, at most 1,000; every refused row is reported, the others are kept."""
        format_ = FORMATS.get(request.mimetype)
        if format_ is None:
            raise NotAFile(f"Send the body as one of: {', '.join(FORMATS)}.")
        taken = list(islice(rows.read(request.get_data().splitlines(keepends=True), format_), MAX_ROWS + 1))
        if len(taken) > MAX_ROWS:
            raise TooLarge(f"Send at most {MAX_ROWS} products at once; none of these was taken.")
        report = bulk.take(taken)
        reading.changed(report.product_ids)
        counts = {name: report.counts[name] for name in ImportReport.COUNTS}
        refused = [RefusedRow.model_validate(row) for row in report.refused]
        return ImportReport(**counts, rows=refused)


class Export(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, query: ExportQuery) -> Response:
        """The whole catalogue as a file that the import understands, what is off sale too."""
        lines: Iterator[str] = rows.write(bulk.everything(), query.format)
        kind = {"csv": "text/csv", "jsonl": "application/x-ndjson"}[query.format]
        return Response(
            (line.encode() for line in lines),
            content_type=f"{kind}; charset=utf-8",
            headers={"Content-Disposition": f"attachment; filename=products.{query.format}"},
        )
