"""Cursor pagination: new rows shift no page."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from pydantic import Field

from chassis.base.parsing import parse_json
from chassis.base.problems import Invalid
from chassis.web.schemas import Query, View

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import InstrumentedAttribute

T = TypeVar("T")


class Page(Query):
    """`cursor` is the previous page's `next`, opaque to the client."""

    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = None


class PageView(View):
    next: str | None = None


def encode(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([str(value) for value in values]).encode()).decode()


def decode(cursor: str, length: int) -> list[str]:
    """The `length` strings encoded. Raises Invalid."""
    try:
        values = parse_json(base64.urlsafe_b64decode(cursor.encode()))
        if isinstance(values, list) and len(values) == length and all(isinstance(value, str) for value in values):
            # Databases reject lone surrogates.
            "".join(values).encode()
            return values
    except ValueError:
        pass
    raise invalid_cursor()


def invalid_cursor() -> Invalid:
    return Invalid.fields(("cursor", "is not a cursor of this list"))


def newest_first(
    query: "Select[T]",
    created_at: "InstrumentedAttribute[datetime]",
    row_id: "InstrumentedAttribute[UUID]",
    page: Page,
) -> tuple[Sequence[T], str | None]:
    """A page and the next cursor. Needs an index ending in (created_at, id)."""
    from sqlalchemy import tuple_

    from chassis.storage import postgres

    if page.cursor is not None:
        try:
            moment, last = decode(page.cursor, 2)
            seen = datetime.fromisoformat(moment).astimezone(UTC)
            query = query.where(tuple_(created_at, row_id) < (seen, UUID(last)))
        except (ValueError, OverflowError):
            raise invalid_cursor() from None
    query = query.order_by(created_at.desc(), row_id.desc()).limit(page.limit + 1)
    rows = postgres.session().scalars(query).all()
    if len(rows) <= page.limit:
        return rows, None
    last_row = rows[page.limit - 1]
    return rows[: page.limit], encode(getattr(last_row, created_at.key).isoformat(), getattr(last_row, row_id.key))
