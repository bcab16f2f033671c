"""PostgreSQL on a full disk goes on reading, however long that lasts."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from launcher.servers.postgres import Postgres
from launcher.stack import Stack
from tests.installation import servers_alone
from tests.small_disk import fill, small_disk, with_all_data

MEGABYTES = 600
"""Its programs, its data, and what `up` wants to be free."""

WRITTEN_MEGABYTES = 100
"""Between two checkpoints: less than the log's reserve, together more."""


@pytest.fixture
def disk() -> Iterator[Path]:
    # Outside pytest's folders, which PostgreSQL's user cannot enter.
    with tempfile.TemporaryDirectory(prefix="souk-disk-") as name, small_disk(Path(name) / "disk", MEGABYTES) as folder:
        yield folder


@pytest.fixture
def stack(disk: Path) -> Iterator[Stack]:
    with with_all_data(disk), servers_alone(disk, "postgres") as running:
        yield running


def test_a_checkpoint_on_a_full_disk_stops_no_reads(stack: Stack, disk: Path) -> None:
    connection = psycopg2.connect(stack.url("postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE notes AS SELECT generate_series(1, 1000) AS number")
        fill(disk)
        # It comes every five minutes in any case.
        cursor.execute("CHECKPOINT")
        cursor.execute("SELECT count(*) FROM notes")
        assert cursor.fetchone() == (1000,)
    connection.close()
    (disk / "ballast").unlink()


def test_a_log_that_goes_on_on_a_full_disk_stops_no_reads(stack: Stack, disk: Path) -> None:
    server = stack.servers["postgres"]
    assert isinstance(server, Postgres)
    server.ensure_databases([])
    connection = psycopg2.connect(stack.url("postgres"))
    connection.autocommit = True
    with connection.cursor() as cursor:
        fill(disk)
        for _ in range(3):
            for _ in range(WRITTEN_MEGABYTES):
                # It is written to the log only.
                cursor.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000))")
            cursor.execute("CHECKPOINT")
    connection.close()
    (disk / "ballast").unlink()
