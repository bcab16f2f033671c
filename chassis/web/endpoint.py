"""What an endpoint says of itself: who may call it, what it takes and answers, and by which errors it refuses."""

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel

from chassis.base.problems import Problem
from chassis.security.auth import Permission

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
    raises: frozenset[int]
    """Statuses of the problems that are this endpoint's own."""
    documentation: str

    FIELD: ClassVar[str] = "__endpoint__"

    @classmethod
    def of(cls, function: Callable[..., Any], url: str) -> "Endpoint":
        """Raises TypeError for a method that was not declared."""
        declaration: Endpoint | None = getattr(function, cls.FIELD, None)
        if declaration is None:
            raise TypeError(f"{function.__qualname__} ({url}) does not declare who may call it.")
        return declaration

    def refusals(self, method: str, url: str) -> list[int]:
        """Every status by which a request may be refused, in order."""
        statuses = {400, 503, 504} | self.raises
        if not self.allow.anyone:
            statuses |= {401, 403}
        if "<" in url:
            statuses.add(404)
        if method.lower() != "get":
            statuses.add(409)
        if self.body is not None or self.query is not None:
            statuses.add(422)
        if self.body is not None:
            statuses |= {413, 415}
        return sorted(statuses)


def endpoint(
    *,
    allow: Permission,
    status: int = 200,
    location: str | None = None,
    idempotency: Idempotency = "none",
    before: Callable[..., Any] | None = None,
    raises: Sequence[type[Problem]] = (),
) -> Callable[[F], F]:
    """Declare a Resource's method.

    `location` is the new thing's URL with fields of the answer in braces, e.g. "/orders/{id}". `before` is called with the
    method's arguments ahead of the transaction, for what is slow (a upstream, a hash); the method gets its result as `prepared`.
    With "own" idempotency the method itself heeds the key: a store without transactions cannot keep the record beside the work.
    `raises` names problems whose status does not follow from the rest of the declaration, see `Endpoint.refusals`.
    """

    def declare(function: F) -> F:
        hints = typing.get_type_hints(function)
        answer = hints.get("return")
        view = answer if isinstance(answer, type) and issubclass(answer, BaseModel) else None
        own = frozenset(problem.status for problem in raises)
        declaration = Endpoint(
            allow,
            status,
            location,
            idempotency,
            hints.get("body"),
            hints.get("query"),
            view,
            before,
            own,
            inspect.getdoc(function) or "",
        )
        setattr(function, Endpoint.FIELD, declaration)
        return function

    return declare
