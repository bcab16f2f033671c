"""PostgreSQL and MongoDB of an installation, whose log goes to a folder of backups."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from launcher.backup import create, place, receiver, vault
from launcher.backup.target import VARIABLE, Backup, Target
from launcher.manifests import WITH_MONGO, WITH_POSTGRES
from launcher.servers import Mongo, Postgres
from launcher.stack import Stack
from tests.installation import until


class Backed:
    """An installation's databases and their backups."""

    def __init__(self, stack: Stack, target: Target) -> None:
        self.stack, self.target = stack, target
        postgres, mongo = stack.servers["postgres"], stack.servers["mongo"]
        assert isinstance(postgres, Postgres)
        assert isinstance(mongo, Mongo)
        self.postgres, self.mongo = postgres, mongo

    @property
    def key(self) -> str:
        return vault.key(self.stack.state, {})

    def create(self, full: bool = False) -> Backup:
        return create.create(self.stack, self.target, full)

    def is_received(self) -> bool:
        eras = self.target.eras()
        return bool(eras) and receiver.behind_bytes(self.postgres.backup_url, eras[-1]) == 0

    def ask(self, *statements: str) -> Any:
        """The first value of the last statement."""
        with closing(psycopg2.connect(self.postgres.url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for statement in statements:
                cursor.execute(statement)
            return (cursor.fetchone() or [None])[0] if cursor.description else None

    def write_log(self, segments: int = 1) -> None:
        """Until so many are complete, and in the folder."""
        for _ in range(segments):
            self.ask("SELECT pg_logical_emit_message(true, 'test', 'a message'), pg_switch_wal()")
        until(self.is_received)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Backed]]:
    """Starts one, of a name, with a folder of backups; all end with the module."""
    started: list[Stack] = []

    def start(name: str, servers: Sequence[str] = ("postgres", "mongo"), **given: str) -> Backed:
        folder = tmp_path_factory.mktemp(name)
        stack = Stack(folder / "state", servers=servers, services=False, standard_ports=False, bound=True)
        stack.installation.environment = {**os.environ, VARIABLE: str(folder / "backups"), **given}
        stack.state.make()
        target = place.at(stack.installation.environment[VARIABLE], stack.state, stack.installation.environment)
        target.make()
        vault.make_key(stack.state, {})
        started.append(stack)
        stack.up()
        backed = Backed(stack, target)
        backed.postgres.ensure_databases(WITH_POSTGRES)
        backed.mongo.ensure_users(WITH_MONGO)
        until(backed.is_received)
        return backed

    yield start
    for stack in started:
        stack.down(wipe=True)


@pytest.fixture(scope="module")
def backed(installation: Callable[[str], Backed]) -> Backed:
    return installation("backed")


def only_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
