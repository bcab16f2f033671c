"""What operators do at a terminal, kept in the same trail as what they do by the API."""

import getpass
from uuid import UUID, uuid4

from chassis.base import clock
from chassis.storage import store
from chassis.storage.trail import TERMINAL, Action

MAX_CHARACTERS = 200


def begin(name: str, subject: object, reason: str) -> UUID:
    """In a transaction. Its id, for `end`."""
    why = f"{getpass.getuser()}: {reason or 'no reason given'}"[:MAX_CHARACTERS]
    action = Action(uuid4(), TERMINAL, name, str(subject), why, clock.now())
    store.trail().begin(action)
    return action.id


def end(action_id: UUID, outcome: str) -> None:
    store.trail().end(action_id, outcome[:MAX_CHARACTERS])
