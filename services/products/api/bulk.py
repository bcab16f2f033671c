"""/products/import and /products/export."""

from collections.abc import Iterator
from io import BytesIO
from itertools import islice

from flask import Response, request

from chassis.base.problems import Invalid, Problem
from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.products import changes
from services.products.bulk import rows
from services.products.bulk.formats import Format
from services.products.bulk.rows import Rows
from services.products.bulk.upsert import all_products, upsert
from services.products.schemas import ExportQuery, ImportReport, RefusedRow

FORMATS: dict[str, Format] = {"text/csv": "csv", "application/x-ndjson": "jsonl", "application/jsonl": "jsonl"}
MAX_ROWS = 1_000


class UnsupportedFile(Problem):
    type, status, title = "/problems/unsupported-media", 415, "Unsupported media type"


class TooManyRows(Problem):
    type, status, title = "/problems/too-large", 413, "Content too large"


class Import(Resource):
    @endpoint(allow=auth.STAFF, raises=[UnsupportedFile, TooManyRows, Invalid])
    def post(self) -> ImportReport:
        """Add or update up to 1,000 products from CSV or JSON Lines. Refused rows are reported."""
        format_ = FORMATS.get(request.mimetype)
        if format_ is None:
            raise UnsupportedFile(f"The content type must be one of: {', '.join(FORMATS)}.")
        read = Rows(BytesIO(request.get_data()), format_)
        received = list(islice(read, MAX_ROWS + 1))
        if len(received) > MAX_ROWS:
            raise TooManyRows(f"Send at most {MAX_ROWS:,} products at once; none of these was written.")
        report = upsert(received)
        changes.publish(report.product_ids)
        counts = {name: report.counts[name] for name in ImportReport.COUNTS}
        refused = [RefusedRow.model_validate(row) for row in report.refused]
        return ImportReport(lines=read.lines, **counts, rows=refused)


class Export(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, query: ExportQuery) -> Response:
        """The whole catalogue as a file that can be imported."""
        lines: Iterator[str] = rows.write(all_products(), query.format)
        media_type = {"csv": "text/csv", "jsonl": "application/x-ndjson"}[query.format]
        return Response(
            (line.encode() for line in lines),
            content_type=f"{media_type}; charset=utf-8",
            headers={"Content-Disposition": f"attachment; filename=products.{query.format}"},
        )
