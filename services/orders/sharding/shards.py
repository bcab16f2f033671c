"""Which database has a user's orders.

The home shard has the map, and everyone whom the map does not name: all, as long as nobody was moved. A shard refuses what is new of
users whom it has given up, whatever an old map said: HTTP answers 503, and messages wait, as if the database were away.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import Connection, text
from sqlalchemy.exc import ArgumentError

from chassis.base.problems import Conflict
from chassis.storage.postgres import Database

MAP = """
CREATE TABLE IF NOT EXISTS shard_map (
    user_id uuid PRIMARY KEY, shard text NOT NULL, moving_to text, leaving text, move uuid
)
"""
"""At home. A move goes from `moving_to` over `leaving` to neither."""

REFUSAL = "57P03"
"""PostgreSQL: cannot_connect_now, what a server says that cannot be used yet."""

AN_ID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

OWNERS = {
    # A rebuild replaces the table of orders.
    "events": "coalesce(CAST(NEW.data->>'user_id' AS uuid), (SELECT user_id FROM orders WHERE id = NEW.stream))",
    # What is asked about an order is the order's, whoever asks.
    "idempotency": f"coalesce(owner_of_order_in(NEW.route), CAST(substring(NEW.caller from '^{AN_ID}$') AS uuid))",
    "operator_actions": "owner_of_order_in(NEW.subject)",
}
"""Whose a new row is, by table."""

FENCES = (
    "CREATE TABLE IF NOT EXISTS shard_name (is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only), name text NOT NULL)",
    "ALTER TABLE shard_name ADD COLUMN IF NOT EXISTS prepared_as text",
    "CREATE TABLE IF NOT EXISTS shard_fences (user_id uuid PRIMARY KEY, move uuid NOT NULL)",
    "CREATE TABLE IF NOT EXISTS shard_arrivals (move uuid PRIMARY KEY, user_id uuid NOT NULL)",
    "CREATE TABLE IF NOT EXISTS shard_departures (order_id uuid PRIMARY KEY, user_id uuid NOT NULL)",
    "CREATE TABLE IF NOT EXISTS shard_inboxes (shard text PRIMARY KEY, copied_until timestamptz NOT NULL)",
    f"""
CREATE OR REPLACE FUNCTION owner_of_order_in(words text) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT user_id FROM orders WHERE id = CAST(substring(lower(words) from '{AN_ID}') AS uuid));
END $$
""",  # noqa: S608 - ours
    f"""
CREATE OR REPLACE FUNCTION expect_no_fence(owner uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(CAST(owner AS text), 57));
    IF EXISTS (SELECT 1 FROM shard_fences WHERE user_id = owner) THEN
        RAISE EXCEPTION 'The orders of user % are on their way to another shard.', owner USING ERRCODE = '{REFUSAL}';
    END IF;
END $$
""",  # noqa: S608 - ours
    f"""
CREATE OR REPLACE FUNCTION expect_not_departed(expected uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- It may have come back since the caller looked.
    IF EXISTS (SELECT 1 FROM shard_departures AS departed WHERE departed.order_id = expected)
        OR EXISTS (SELECT 1 FROM orders WHERE orders.id = expected) THEN
        RAISE EXCEPTION 'Order % has left for another shard.', expected USING ERRCODE = '{REFUSAL}';
    END IF;
END $$
""",  # noqa: S608 - ours
    *(
        f"""
CREATE OR REPLACE FUNCTION refuse_fenced_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM expect_no_fence({owner});
    RETURN NEW;
END $$
"""
        for table, owner in OWNERS.items()
    ),
    *(
        f"CREATE OR REPLACE TRIGGER fence BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_fenced_{table}()"
        for table in OWNERS
    ),
)
"""In every shard."""

FENCE_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(CAST(:user AS text), 57))")
"""Waits for all who have written an event of this user and not committed yet."""

PREPARED_AS = hashlib.sha256("".join([MAP, *FENCES]).encode()).hexdigest()
"""Differs from release to release if what they make does."""

_NAME = text(
    "INSERT INTO shard_name (name, prepared_as) VALUES (:name, :prepared_as)"
    " ON CONFLICT (is_only) DO UPDATE SET prepared_as = excluded.prepared_as"
)
_IS_PREPARED = text("SELECT to_regclass('shard_name') IS NOT NULL")
# Earlier releases did not note what they had made.
_NAMED = text("SELECT name, to_jsonb(shard_name)->>'prepared_as' AS prepared_as FROM shard_name")
_SHARD = text("SELECT shard FROM shard_map WHERE user_id = :user")
_OWNER = text("SELECT user_id FROM orders WHERE id = :order")


class _File(BaseModel):
    home: str
    shards: Mapping[str, str]


class WrongShard(Conflict):
    type, title = "/problems/wrong-shard", "Wrong database"


class NotPrepared(Conflict):
    type, title = "/problems/shard-not-prepared", "Shard is not prepared"


@dataclass(frozen=True)
class Shards:
    databases: Mapping[str, Database]
    home: str

    @classmethod
    def read(cls, path: Path) -> "Shards":
        """A JSON file: {"home": "first", "shards": {"first": "postgresql://...", ...}}. Raises OSError, ValueError."""
        found = _File.model_validate_json(path.read_text())
        if found.home not in found.shards:
            raise ValueError(f"home is {found.home}, which is no shard")
        try:
            return cls({name: Database(url, pool_size=3) for name, url in found.shards.items()}, found.home)
        except ArgumentError as error:
            raise ValueError(error) from None

    @property
    def map(self) -> Database:
        return self.databases[self.home]

    def prepare(self) -> None:
        """Idempotent. Shards have the service's own tables already. Raises WrongShard."""
        for name, database in self.databases.items():
            with database.engine.begin() as connection:
                for statement in (*FENCES, *([MAP] if name == self.home else [])):
                    connection.execute(text(statement))
                connection.execute(_NAME, {"name": name, "prepared_as": PREPARED_AS})
        self.check()

    def check(self) -> None:
        """Raises WrongShard, NotPrepared."""
        for name, database in self.databases.items():
            with database.engine.connect() as connection:
                expect_prepared(connection, name)

    def of_user(self, user_id: UUID) -> str:
        with self.map.engine.connect() as connection:
            return connection.scalar(_SHARD, {"user": user_id}) or self.home

    def of_order(self, order_id: UUID) -> str | None:
        """None if there is no such order. While a move is under way, both have it, and its owner decides."""
        # Twice: an order may have moved from a shard that is asked later to one that was asked before.
        for database in (*self.databases.values(), *self.databases.values()):
            with database.engine.connect() as connection:
                if (owner := connection.scalar(_OWNER, {"order": order_id})) is not None:
                    return self.of_user(owner)
        return None

    def close(self) -> None:
        for database in self.databases.values():
            database.close()


def expect_prepared(connection: Connection, name: str) -> None:
    """Raises WrongShard: of two names for one database, a move to the second would delete what it copies.

    And NotPrepared: fences of another release may let through what they should refuse.
    """
    named = connection.execute(_NAMED).one_or_none() if connection.scalar(_IS_PREPARED) else None
    if named is not None and named.name != name:
        raise WrongShard(f"The database that is called {name} here has been prepared as {named.name}.")
    if named is None or named.prepared_as != PREPARED_AS:
        raise NotPrepared(f"The database of shard {name} has not been prepared by this release: run `prepare` first.")


def is_refusal(error: Exception) -> bool:
    """Whether a fence has refused a row."""
    return getattr(getattr(error, "orig", None), "pgcode", "") == REFUSAL
