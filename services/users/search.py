"""Search for users. Every search is one range of an index, however many users there are."""

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import merge
from uuid import UUID

from sqlalchemy import ColumnElement, Select, collate, func, select, tuple_

from chassis.base.problems import Invalid
from chassis.storage import postgres
from chassis.web import pagination
from services.users.models.user import User, searchable
from services.users.schemas import SearchQuery

LAST_CHARACTER = "\U0010ffff"
"""A prefix followed by this sorts, by bytes, after everything that begins with the prefix."""


@dataclass(frozen=True)
class Hit:
    term: str
    user_id: UUID
    user: User

    @property
    def key(self) -> tuple[bytes, str]:
        return self.term.encode(), str(self.user_id)


def find(query: SearchQuery, only_public: bool) -> tuple[list[User], str | None]:
    """A page, and the cursor of the next. Raises Invalid."""
    prefix, terms = prefix_and_terms(query)
    after = _position(query.cursor)
    rows = [_hits(statement(term, prefix, after, query.limit + 1, only_public)) for term in terms]
    hits = list(merge(*rows, key=lambda hit: hit.key))
    page = hits[: query.limit]
    cursor = pagination.encode(page[-1].term, page[-1].user_id) if len(hits) > len(page) else None
    return list(_distinct(page, prefix) if query.name is not None else (hit.user for hit in page)), cursor


def statement(
    term: ColumnElement[str], prefix: str, after: tuple[str, UUID] | None, limit: int, only_public: bool
) -> Select[User, str]:
    """Users whose `term` begins with `prefix`, after the position `after`."""
    by_bytes = collate(term, "C")
    query = select(User, by_bytes.label("term")).where(by_bytes >= prefix, by_bytes < prefix + LAST_CHARACTER)
    if only_public:
        query = query.where(User.is_public)
    if after is not None:
        query = query.where(tuple_(by_bytes, User.id) > after)
    return query.order_by(by_bytes, User.id).limit(limit)


def prefix_and_terms(query: SearchQuery) -> tuple[str, list[ColumnElement[str]]]:
    """The prefix as compared, and the columns to compare."""
    if query.email is not None:
        return query.email.lower(), [User.email.expression]
    if query.username is not None:
        return query.username.lower(), [func.lower(User.username)]
    prefix = searchable(query.name)
    if not prefix:
        raise Invalid("name: has no letter", errors=[{"field": "name", "message": "has no letter"}])
    return prefix, [User.first_last.expression, User.last_first.expression]


def _hits(query: Select[User, str]) -> Iterable[Hit]:
    return [Hit(term, user.id, user) for user, term in postgres.session().execute(query)]


def _distinct(hits: Iterable[Hit], prefix: str) -> Iterable[User]:
    """A user who matches in both orders of the names is listed at the first, on whichever page that is."""
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
