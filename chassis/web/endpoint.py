"""What a Resource's method admits, takes and returns."""

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel

from chassis.base.problems import Problem
from chassis.security.auth import Permission
from chassis.web.schemas import Rendered

F = TypeVar("F", bound=Callable[..., Any])

Idempotency = Literal["none", "optional", "required", "own"]


@dataclass(frozen=True)
class Endpoint:
    allow: Permission
    status: int
    location: str | None
    idempotency: Idempotency
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    view: type[BaseModel] | None
    before: Callable[..., Any] | None
    may_be_stale: bool
    raises: frozenset[int]
    """Statuses."""
    documentation: str

    ATTRIBUTE: ClassVar[str] = "__endpoint__"

    @classmethod
    def of(cls, function: Callable[..., Any], url: str) -> "Endpoint":
        """Raises TypeError without `@endpoint`."""
        found: Endpoint | None = getattr(function, cls.ATTRIBUTE, None)
        if found is None:
            raise TypeError(f"{function.__qualname__} ({url}) is not an endpoint: decorate it with @endpoint.")
        return found

    def error_statuses(self, method: str, url: str) -> set[int]:
        statuses = {400, 503, 504} | self.raises
        if not self.allow.anyone:
            statuses |= {401, 403}
        if "<" in url:
            statuses.add(404)
        if method.lower() != "get":
            statuses |= {409, 415}
        if self.body is not None or self.query is not None:
            statuses.add(422)
        if self.body is not None:
            statuses.add(413)
        return statuses


def endpoint(
    *,
    allow: Permission,
    status: int = 200,
    location: str | None = None,
    idempotency: Idempotency = "none",
    before: Callable[..., Any] | None = None,
    may_be_stale: bool = False,
    raises: Sequence[type[Problem]] = (),
) -> Callable[[F], F]:
    """Annotations name the models of `body`, `query` and the response.

    location: with fields of the response: "/orders/{id}".
    idempotency: "own": the method handles the key.
    before: slow work ahead of the transaction; its result becomes `prepared`.
    may_be_stale: it only reads, and may be served by a replica of the database; it may then be called twice.
    raises: what `Endpoint.error_statuses` cannot infer.
    """

    def decorate(function: F) -> F:
        hints = typing.get_type_hints(function)
        returned = hints.get("return")
        if typing.get_origin(returned) is Rendered:
            [returned] = typing.get_args(returned)
        made = Endpoint(
            allow=allow,
            status=status,
            location=location,
            idempotency=idempotency,
            body=hints.get("body"),
            query=hints.get("query"),
            view=returned if isinstance(returned, type) and issubclass(returned, BaseModel) else None,
            before=before,
            may_be_stale=may_be_stale,
            raises=frozenset(problem.status for problem in raises),
            documentation=inspect.getdoc(function) or "",
        )
        setattr(function, Endpoint.ATTRIBUTE, made)
        return function

    return decorate
