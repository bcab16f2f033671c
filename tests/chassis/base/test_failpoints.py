"""A process dies at the point that is armed, once, and nowhere else; what it had committed stays, what it had not is gone."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from chassis.base import failpoints
from chassis.base.settings import Settings
from launcher.servers.mongo import database_url
from tests.conftest import server_url

WORK = """
import sys
import mongoengine
from sqlalchemy import text
from chassis.base import failpoints, tracing
from chassis.storage import mongo, postgres
directory, sql, mongo_url = sys.argv[1:]
failpoints.arm(directory, "program")
database = postgres.Database(sql)
with tracing.trace(work=failpoints.together(["b", "a", "b"])):
    failpoints.point("handled")
with tracing.trace(work="writing"):
    with database.transaction():
        postgres.session().execute(text("SELECT count(*) FROM kept"))
    for number in (1, 2):
        with database.transaction():
            postgres.session().execute(text("INSERT INTO kept VALUES (:number)"), {"number": number})
    mongo.MongoStore(mongo_url, "things", "program")
    mongoengine.get_db()["things"].insert_one({"_id": 1})
"""


@pytest.fixture
def life(tmp_path: Path, make_database: Callable[[str], str]) -> Callable[..., tuple[int, int, int]]:
    """Lives through WORK with these points armed; gives the exit code and how many rows and documents are kept."""
    url = make_database("failpoints")
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://", 1))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (n int)"))
    mongo_url = database_url(server_url("MONGO"), url.rsplit("/", 1)[1])

    def live(*points: str) -> tuple[int, int, int]:
        import pymongo

        for name in points:
            (tmp_path / failpoints.file_of(name)).touch()
        code = subprocess.run([sys.executable, "-c", WORK, str(tmp_path), url, mongo_url], check=False).returncode
        with engine.connect() as connection, pymongo.MongoClient(mongo_url) as client:
            rows = connection.execute(text("SELECT count(*) FROM kept")).scalar_one()
            return code, rows, client.get_default_database()["things"].count_documents({})

    return live


@pytest.mark.parametrize(
    ("point", "rows", "documents"),
    [
        ("program: a: handled", 0, 0),
        ("program: b: handled", 0, 0),
        ("program: writing: commit", 0, 0),
        ("program: writing: committed", 1, 0),
        ("program: writing: insert things", 2, 0),
        ("program: writing: insert things, done", 2, 1),
    ],
)
def test_a_process_dies_at_the_triggered_point_and_keeps_what_came_before(
    life: Callable[..., tuple[int, int, int]], point: str, rows: int, documents: int
) -> None:
    assert life(point) == (-signal.SIGKILL, rows, documents)


def test_a_point_may_be_passed_a_number_of_times_first(
    life: Callable[..., tuple[int, int, int]], tmp_path: Path
) -> None:
    point = "program: writing: committed"
    (tmp_path / failpoints.file_of(point)).write_text("1")
    assert life() == (-signal.SIGKILL, 2, 0)


def test_other_points_are_passed_and_recorded(life: Callable[..., tuple[int, int, int]], tmp_path: Path) -> None:
    (tmp_path / failpoints.RECORDING).touch()
    assert life("other: writing: commit") == (0, 2, 1)
    assert (tmp_path / failpoints.PASSED).read_text().splitlines() == [
        "program: a: handled",
        "program: b: handled",
        "program: writing: commit",
        "program: writing: committed",
        "program: writing: commit",
        "program: writing: committed",
        "program: writing: insert things",
        "program: writing: insert things, done",
    ]


def test_production_rejects_failpoints(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="production"):
        Settings(environment="production", failpoints_directory=str(tmp_path))
