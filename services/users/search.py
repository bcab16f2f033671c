"""The search for users: each shape of it is a range of one index, so it takes as long among a million as among a thousand."""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import merge
from uuid import UUID

from sqlalchemy import ColumnElement, Select, collate, func, select, tuple_

from chassis.base.problems import Invalid
from chassis.storage import postgres
from chassis.web import pagination
from services.users.models.user import User
from services.users.names import searchable
from services.users.schemas import SearchQuery

LAST_CHARACTER = "\U0010ffff"
"""Whatever begins with a prefix sorts, by bytes, before the prefix with this behind it."""


@dataclass(frozen=True)
class Hit:
    """Sorts as the list does."""

    term: str
    user_id: UUID
    user: User

    @property
    def key(self) -> tuple[bytes, str]:
        return self.term.encode(), str(self.user_id)


def found(query: SearchQuery, only_public: bool) -> tuple[list[User], str | None]:
    """One page and the cursor of the next. Raises Invalid for a cursor that is not of this list."""
    prefix, terms = _sought(query)
    seen = _position(query.cursor)
    rows = [_rows(statement(term, prefix, seen, query.limit + 1, only_public)) for term in terms]
    hits = list(merge(*rows, key=lambda hit: hit.key))
    page = hits[: query.limit]
    following = pagination.encode(page[-1].term, page[-1].user_id) if len(hits) > len(page) else None
    return list(_once(page, prefix) if query.name is not None else (hit.user for hit in page)), following


def statement(
    term: ColumnElement[str], prefix: str, seen: tuple[str, UUID] | None, limit: int, only_public: bool
) -> Select[User, str]:
    """Those whose `term` begins with `prefix`, behind `seen`, in the order of (term, id)."""
    by_bytes = collate(term, "C")
    query = select(User, by_bytes.label("term")).where(by_bytes >= prefix, by_bytes < prefix + LAST_CHARACTER)
    if only_public:
        query = query.where(User.is_public)
    if seen is not None:
        query = query.where(tuple_(by_bytes, User.id) > seen)
    return query.order_by(by_bytes, User.id).limit(limit)


def _sought(query: SearchQuery) -> tuple[str, list[ColumnElement[str]]]:
    if query.email is not None:
        return query.email.lower(), [User.email.expression]
    if query.username is not None:
        return query.username.lower(), [func.lower(User.username)]
    prefix = searchable(query.name)
    if not prefix:
        raise Invalid("name: has no letter", errors=[{"field": "name", "message": "has no letter"}])
    return prefix, [User.first_last.expression, User.last_first.expression]


def _rows(query: Select[User, str]) -> Iterable[Hit]:
    return [Hit(term, user.id, user) for user, term in postgres.session().execute(query)]


def _once(hits: Iterable[Hit], prefix: str) -> Iterable[User]:
    """Who is found by both names is listed by the first of them only, on whichever page that is."""
    last: Hit | None = None
    for hit in hits:
        names = [name for name in (hit.user.first_last, hit.user.last_first) if name.startswith(prefix)]
        if hit.term == min(names, key=str.encode) and (last is None or hit.key != last.key):
            yield hit.user
        last = hit


def _position(cursor: str | None) -> tuple[str, UUID] | None:
    if cursor is None:
        return None
    term, user_id = pagination.decode(cursor, 2)
    if "\0" in term:
        raise pagination.invalid_cursor()
    try:
        return term, UUID(user_id)
    except ValueError:
        raise pagination.invalid_cursor() from None
