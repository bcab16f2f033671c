"""What staff do about what a service has given up, by its API. Only called from inside: the edge routes none of it.

Each action needs a reason and an Idempotency-Key, is done once for each key, and is kept in the service's trail.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar
from uuid import UUID, uuid5

from flask import request
from pydantic import Field
from structlog import get_logger

from chassis.base import clock
from chassis.base.problems import NotFound, Unavailable
from chassis.run.service import Service
from chassis.security import auth
from chassis.storage import store
from chassis.storage.responses import HEADER, KeyReused
from chassis.storage.trail import FAILED, Action
from chassis.web import idempotency
from chassis.web.api import Body, Query, Resource, View, endpoint

if TYPE_CHECKING:
    from chassis.messaging.dead_letters import Letter

log = get_logger(__name__)

T = TypeVar("T")

MAX_LISTED = 100

WAIT_SECONDS = 3.0
"""For another reader."""


class Why(Body):
    example: ClassVar[dict[str, Any]] = {"why": "The mail server is back"}

    why: str = Field(min_length=1, max_length=200)


class ActionView(View):
    """`by`: the operator. `outcome`: null if it is not known."""

    id: UUID
    by: UUID
    name: str
    subject: str
    why: str
    at: datetime
    outcome: str | None

    @classmethod
    def of(cls, action: Action) -> Self:
        return cls.model_validate(action)


class ActionList(View):
    """Newest first."""

    items: list[ActionView]


class ActionQuery(Query):
    subject: str | None = Field(None, max_length=200)
    limit: int = Field(20, ge=1, le=MAX_LISTED)


class LetterView(View):
    """`queue` is `rows` for a row. `to`: where a replay sends it."""

    id: str
    queue: str
    type: str
    since: str
    error: str
    details: dict[str, Any]
    to: str = ""

    @classmethod
    def of(cls, letter: "Letter", **changes: Any) -> Self:
        return cls.model_validate(replace(letter, **changes))


class LetterList(View):
    """The oldest."""

    count: int
    items: list[LetterView]


def act(name: str, subject: object, why: str, do: Callable[[], str]) -> ActionView:
    """In a transaction: what is done and its record are kept together. do: returns the outcome. Raises KeyReused."""
    action = _new(name, subject, why)
    if kept := store.trail().begin(action):
        return _repeated(kept, action)
    outcome = do()
    store.trail().end(action.id, outcome)
    return _ended(action, outcome)


def act_outside(name: str, subject: object, why: str, do: Callable[[], str]) -> ActionView:
    """Of what is done elsewhere: recorded before and after, each in a transaction of its own."""
    action = _new(name, subject, why)
    with store.transaction():
        kept = store.trail().begin(action)
    if kept:
        return _repeated(kept, action)
    outcome = FAILED
    try:
        outcome = do()
    finally:
        with store.transaction():
            store.trail().end(action.id, outcome)
        ended = _ended(action, outcome)
    return ended


def _new(name: str, subject: object, why: str) -> Action:
    """Raises KeyMissing and Malformed."""
    key = idempotency.checked(request.headers.get(HEADER), is_required=True)
    by = auth.caller().user_id
    assert key is not None
    assert by is not None
    return Action(uuid5(by, key), by, name, str(subject), why, clock.now())


def _repeated(kept: Action, action: Action) -> ActionView:
    if (kept.name, kept.subject) != (action.name, action.subject):
        raise KeyReused("It was first used for another action.", field=HEADER)
    return ActionView.of(kept)


def _ended(action: Action, outcome: str) -> ActionView:
    about = {"user_id": str(action.by), "action": action.name, "subject": action.subject, "why": action.why}
    log.info("operator acted", **about, outcome=outcome)
    return ActionView.of(replace(action, outcome=outcome))


class Actions(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, query: ActionQuery) -> ActionList:
        """What operators did here, with who and why, newest first."""
        found = store.trail().newest(query.limit, query.subject)
        return ActionList(items=[ActionView.of(each) for each in found])


def routes(service: Service) -> Mapping[str, type[Resource]]:
    letters = Letters(service)

    def replay(letter_id: str, body: Why) -> ActionView:
        return act_outside("replay dead letter", letter_id, body.why, lambda: letters.replay(letter_id))

    class DeadLetters(Resource):
        @endpoint(allow=auth.STAFF, before=letters.oldest)
        def get(self, prepared: LetterList) -> LetterList:
            """Messages, tasks and rows that were given up, oldest first."""
            return prepared

    class DeadLetter(Resource):
        @endpoint(allow=auth.STAFF, before=letters.one)
        def get(self, letter_id: str, prepared: LetterView) -> LetterView:
            """One with its headers and body, without secrets, and where a replay would send it."""
            return prepared

    class Replay(Resource):
        @endpoint(allow=auth.STAFF, idempotency="own", before=replay)
        def post(self, letter_id: str, body: Why, prepared: ActionView) -> ActionView:
            """Send it back to be handled. If it was handled meanwhile, nothing changes. Needs an Idempotency-Key."""
            return prepared

    return {
        "/operations/actions": Actions,
        "/operations/dead-letters": DeadLetters,
        "/operations/dead-letters/<string(maxlength=100):letter_id>": DeadLetter,
        "/operations/dead-letters/<string(maxlength=100):letter_id>/replay": Replay,
    }


class Letters:
    """Dead letters of a service. Methods raise Unavailable."""

    def __init__(self, service: Service) -> None:
        self._service = service
        # Two readers of one queue would each see a part of it.
        self._lock = threading.Lock()

    def oldest(self) -> LetterList:
        def read(sources: list[Any]) -> LetterList:
            count = sum(source.count() for source in sources)
            found = [each for source in sources for each in source.letters(MAX_LISTED)][:MAX_LISTED]
            return LetterList(count=count, items=[LetterView.of(each, details={}) for each in found])

        return self._read(read)

    def one(self, letter_id: str) -> LetterView:
        """Raises NotFound."""

        def read(sources: list[Any]) -> list[LetterView]:
            found = [each for source in sources for each in source.find(letter_id)]
            to = [each.details["to"] for source in sources for each in source.replay([letter_id], dry_run=True)]
            return [LetterView.of(letter).model_copy(update={"to": to[0]}) for letter in found[:1] if to]

        return _first(self._read(read))

    def replay(self, letter_id: str) -> str:
        """Where it was sent. Raises NotFound."""

        def send(sources: list[Any]) -> list[str]:
            sent = [each for source in sources for each in source.replay([letter_id], dry_run=False)]
            return [f"{each.type} sent to {each.details['to']}" for each in sent]

        return str(_first(self._read(send)))

    def _read(self, read: Callable[[list[Any]], Any]) -> Any:
        # Imported when they are asked for, as web processes have no use for a broker before.
        from chassis.messaging.dead_letters import UNAVAILABLE
        from chassis.run import dead_letters

        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise Unavailable("Others are looking at the dead letters.")
        try:
            return read(dead_letters.of(self._service))
        except UNAVAILABLE as error:
            log.warning("no broker", error=repr(error))
            raise Unavailable("RabbitMQ does not respond.") from error
        finally:
            self._lock.release()


def _first(found: list[T]) -> T:
    if not found:
        raise NotFound("There is no dead letter with this id: it may have been replayed, or others are looking at it.")
    return found[0]
