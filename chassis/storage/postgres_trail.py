"""The operators' trail as a table."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Index, String, Table, Uuid, select, update
from sqlalchemy.dialects.postgresql import insert

from chassis.storage import postgres
from chassis.storage.trail import FAILED, Action

operator_actions = Table(
    "operator_actions",
    postgres.metadata,
    Column("id", Uuid, primary_key=True),
    Column("by", Uuid, nullable=False),
    Column("name", String(100), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("why", String(200), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False, index=True),
    Column("outcome", String(200)),
    Index("operator_actions_of_subject", "subject", "at"),
)

_c = operator_actions.c


class PostgresTrail:
    def begin(self, action: Action) -> Action | None:
        again = {name: getattr(action, name) for name in ("why", "at", "outcome")}
        statement = insert(operator_actions).values(asdict(action))
        statement = statement.on_conflict_do_update(index_elements=[_c.id], set_=again, where=_c.outcome == FAILED)
        if postgres.session().execute(statement.returning(_c.id)).first() is not None:
            return None
        return _action(postgres.session().execute(select(operator_actions).where(_c.id == action.id)).one())

    def end(self, action_id: UUID, outcome: str) -> None:
        postgres.session().execute(update(operator_actions).where(_c.id == action_id).values(outcome=outcome))

    def newest(self, limit: int, subject: str | None = None) -> Sequence[Action]:
        conditions = [] if subject is None else [_c.subject == subject]
        found = select(operator_actions).where(*conditions).order_by(_c.at.desc()).limit(limit)
        return [_action(row) for row in postgres.session().execute(found)]


def _action(row: Any) -> Action:
    return Action(**row._mapping)
