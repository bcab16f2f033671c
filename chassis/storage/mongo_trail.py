"""The operators' trail as a collection."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

import mongoengine
import pymongo
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from chassis.storage.trail import FAILED, Action

NAME = "operator_actions"


class MongoTrail:
    def begin(self, action: Action) -> Action | None:
        document = asdict(action)
        document["_id"] = document.pop("id")
        try:
            _collection().insert_one(document)
            return None
        except DuplicateKeyError:
            failed = {"_id": action.id, "outcome": FAILED}
            again = {"$set": {name: document[name] for name in ("why", "at", "outcome")}}
            if _collection().update_one(failed, again).modified_count:
                return None
            return _action(_collection().find_one({"_id": action.id}))

    def end(self, action_id: UUID, outcome: str) -> None:
        _collection().update_one({"_id": action_id}, {"$set": {"outcome": outcome}})

    def newest(self, limit: int, subject: str | None = None) -> Sequence[Action]:
        chosen = {} if subject is None else {"subject": subject}
        return [_action(each) for each in _collection().find(chosen).sort("at", pymongo.DESCENDING).limit(limit)]


def ensure_indexes() -> None:
    _collection().create_index("at")
    _collection().create_index([("subject", pymongo.ASCENDING), ("at", pymongo.DESCENDING)])


def _collection() -> Collection[Any]:
    return mongoengine.get_db()[NAME]


def _action(document: Any) -> Action:
    return Action(id=document["_id"], **{name: value for name, value in document.items() if name != "_id"})
