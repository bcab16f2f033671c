"""The real servers, as `./souk up` starts them: what they keep, and who may enter."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pymongo
import pytest
import redis

from chassis.messaging import broker
from chassis.messaging.publisher import Publisher
from launcher.errors import LaunchError
from launcher.servers import Postgres
from launcher.servers.postgres import BACKUP, RESERVED_CONNECTIONS, SETTINGS
from launcher.stack import Stack
from launcher.temporary import SERVERS
from tests.broker import an_envelope, taken_from
from tests.installation import planned, servers_alone

ROLES = ["alpha", "beta"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with servers_alone(tmp_path_factory.mktemp("servers"), *SERVERS) as running:
        yield running


@pytest.fixture
def postgres(stack: Stack) -> Postgres:
    server = stack.servers["postgres"]
    assert isinstance(server, Postgres)
    server.ensure_databases(ROLES)
    return server


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_every_server_keeps_its_data_until_it_is_wiped(
    stack: Stack, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope = an_envelope("kept")
    run(postgres.database_url("alpha"), "CREATE TABLE kept AS SELECT 'a row' AS what")
    pymongo.MongoClient(stack.url("mongo")).alpha.kept.insert_one({"what": "a document"})
    redis.Redis.from_url(stack.url("redis")).set("kept", "a value")
    broker.declare(stack.url("rabbitmq"), "kept", ["kept.greeted"])
    publisher = Publisher(stack.url("rabbitmq"))
    publisher.publish(envelope)
    publisher.close()
    stack.up()
    stack.down()
    stack.up()
    assert run(postgres.database_url("alpha"), "SELECT what FROM kept") == [("a row",)]
    [document] = pymongo.MongoClient(stack.url("mongo")).alpha.kept.find()
    assert document["what"] == "a document"
    assert redis.Redis.from_url(stack.url("redis")).get("kept") == b"a value"
    monkeypatch.setenv("SOUK_TEST_BROKER_URL", stack.url("rabbitmq"))
    assert taken_from("kept", envelope)


def test_who_measures_postgresql_sees_all_sessions_and_no_table(stack: Stack, postgres: Postgres) -> None:
    run(postgres.database_url("alpha"), "CREATE TABLE secret AS SELECT 'a row' AS what")
    everyones = "SELECT count(*) FROM pg_stat_activity WHERE usename <> current_user AND query <> ''"
    connection = psycopg2.connect(stack.url("postgres"))
    try:
        connection.cursor().execute("SELECT 1")
        assert run(postgres.monitor_url, everyones) != [(0,)]
    finally:
        connection.close()
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        run(postgres.monitor_url.replace("/postgres", "/alpha"), "SELECT * FROM secret")


def test_a_lost_state_folder_costs_no_data(stack: Stack, postgres: Postgres, tmp_path: Path) -> None:
    run(postgres.database_url("alpha"), "CREATE TABLE precious AS SELECT 'a row' AS what")
    stack.down()
    backup = stack.state.path.rename(tmp_path / "backup")
    if os.geteuid() != 0:
        # The databases were in the folder; suppose that they were restored without the secrets.
        shutil.copytree(backup / "data", stack.state.data)
    with pytest.raises(LaunchError, match=r"secrets.json is missing, and .* put it back from a backup"):
        Stack(stack.state.path, servers=SERVERS, services=False, standard_ports=False).up()
    shutil.rmtree(stack.state.path)
    backup.rename(stack.state.path)
    stack.up()
    assert run(postgres.database_url("alpha"), "SELECT what FROM precious") == [("a row",)]


def test_a_role_cannot_enter_the_database_of_another(postgres: Postgres) -> None:
    others = postgres.database_url("alpha").removesuffix("/alpha") + "/beta"
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        run(others, "SELECT 1")


def test_a_role_that_takes_all_its_connections_leaves_the_others_theirs(postgres: Postgres) -> None:
    share = (int(SETTINGS["max_connections"]) - RESERVED_CONNECTIONS) // len(ROLES)
    held = []
    try:
        for _ in range(share):
            held.append(psycopg2.connect(postgres.database_url("alpha")))
        with pytest.raises(psycopg2.OperationalError, match="too many connections for role"):
            psycopg2.connect(postgres.database_url("alpha"))
        assert run(postgres.database_url("beta"), "SELECT 1") == [(1,)]
    finally:
        for connection in held:
            connection.close()


def test_who_sends_the_log_to_a_bucket_knows_the_way_there_and_no_other_secrets(tmp_path: Path) -> None:
    way = {
        "AWS_ENDPOINT_URL": "https://bucket.test",
        "AWS_CA_BUNDLE": "/etc/ssl/ours.pem",
        "HTTPS_PROXY": "http://proxy.test:3128",
        "https_proxy": "http://proxy.test:3128",
        "NO_PROXY": "localhost",
        "SOUK_BACKUP_ALLOW_HTTP": "1",
    }
    others = {"SOUK_BACKUP_DIR": "s3://backups", "SOUK_STRIPE_KEY": "theirs", "MY_HTTPS_PROXY": "theirs"}
    stack = planned(tmp_path, way | others)
    receiver = next(each for each in stack.servers["postgres"].programs() if each.name == BACKUP)
    assert receiver.environment.items() >= way.items()
    assert not receiver.environment.keys() & others.keys()
