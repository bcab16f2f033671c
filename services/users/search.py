"""User search; each search is one index range."""

from collections.abc import Callable, Iterable
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
"""Prefix plus this sorts after everything with the prefix."""


@dataclass(frozen=True)
class Range:
    column: ColumnElement[str]
    prefix: str
    value: Callable[[User], str]


@dataclass(frozen=True)
class Hit:
    term: str
    user_id: UUID
    user: User

    @property
    def key(self) -> tuple[bytes, str]:
        return self.term.encode(), str(self.user_id)


def find(query: SearchQuery, only_public: bool) -> tuple[list[User], str | None]:
    """Raises Invalid."""
    searched = ranges(query, only_public)
    after = _position(query.cursor)
    rows = [_hits(statement(each, after, query.limit + 1, only_public)) for each in searched]
    hits = list(merge(*rows, key=lambda hit: hit.key))
    page = hits[: query.limit]
    cursor = pagination.encode(page[-1].term, page[-1].user_id) if len(hits) > len(page) else None
    return list(_distinct(page, searched)), cursor


def statement(searched: Range, after: tuple[str, UUID] | None, limit: int, only_public: bool) -> Select[User, str]:
    by_bytes, prefix = collate(searched.column, "C"), searched.prefix
    query = select(User, by_bytes.label("term")).where(by_bytes >= prefix, by_bytes < prefix + LAST_CHARACTER)
    if only_public:
        query = query.where(User.is_public)
    if after is not None:
        query = query.where(tuple_(by_bytes, User.id) > after)
    return query.order_by(by_bytes, User.id).limit(limit)


def ranges(query: SearchQuery, only_public: bool) -> list[Range]:
    """Addresses for staff only: prefixes would reveal them letter by letter."""
    found = []
    if (username := query.username or query.q) is not None:
        found.append(Range(func.lower(User.username), username.lower(), lambda user: user.username.lower()))
    if (email := query.email or query.q) is not None and not only_public:
        found.append(Range(User.email.expression, email.lower(), lambda user: user.email))
    if (name := query.name or query.q) is not None and (prefix := searchable(name)):
        found.append(Range(User.first_last.expression, prefix, lambda user: user.first_last))
        found.append(Range(User.last_first.expression, prefix, lambda user: user.last_first))
    if not found:
        raise Invalid.fields(("name", "has no letter"))
    return found


def _hits(query: Select[User, str]) -> Iterable[Hit]:
    return [Hit(term, user.id, user) for user, term in postgres.session().execute(query)]


def _distinct(hits: Iterable[Hit], searched: Iterable[Range]) -> Iterable[User]:
    last: Hit | None = None
    for hit in hits:
        terms = [term for each in searched if (term := each.value(hit.user)).startswith(each.prefix)]
        if hit.term == min(terms, key=str.encode) and (last is None or hit.key != last.key):
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
