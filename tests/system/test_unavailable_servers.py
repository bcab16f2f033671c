"""Every command, while a server is unavailable or nothing runs: one sentence names it and what to do."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import typer.main
from typer.core import TyperGroup
from typer.testing import CliRunner, Result

import launcher.commands  # noqa: F401 - importing registers them
from launcher.cli import app
from launcher.servers import SERVERS
from launcher.stack import Stack
from tests.installation import edge_is_whole, installed, until
from tests.ports import free_port

WITH_BACKUPS = {"backup init", "backup list", "backup prune", "backup verify", "restore"}
"""They need only the place of the backups."""

ON_THEIR_OWN = {
    *WITH_BACKUPS,
    *("bench", "chaos", "chart generate", "chart secrets", "check", "compose generate", "compose secrets"),
    *("cluster demo", "cluster down", "cluster load", "cluster status", "cluster up", "dev", "down"),
    *("kong golden", "kong run", "mutants", "new service"),
    *("release chart", "release deploy", "release image", "release notes", "test", "up"),
}
"""They use no running installation, or start and stop it."""

AN_ID = str(uuid4())

ARGUMENTS = {
    "dead replay": ["--all", "--dry-run"],
    "dead show": [AN_ID],
    "drill": ["kill"],
    "orders show": [AN_ID],
    "products export": ["{folder}/products.jsonl"],
    "products import": ["{folder}/new.jsonl"],
    "restart": ["orders"],
    "sagas compensate": [AN_ID],
    "sagas resume": [AN_ID],
    "sagas settle": [AN_ID],
    "sagas show": [AN_ID],
    "scale": ["users=1"],
    "top": ["--once"],
    "trace": [AN_ID],
}

_RABBITMQ = {"dead list", "dead replay", "dead show", "drill", "order", "renew", "restart", "scale"}
NEEDS = {
    "postgres": {
        *_RABBITMQ,
        *("backup create", "keys rotate", "migrate", "orders rebuild", "orders show", "payments reconcile", "trace"),
        *(f"sagas {verb}" for verb in ("compensate", "list", "resume", "settle", "show")),
    },
    "mongo": {"backup create", "order", "products export", "products import", "stock audit"},
    "rabbitmq": _RABBITMQ,
    "consul": {"drill", "order", "restart", "scale"},
    "redis": set[str](),
}
"""By server, apart from `status`, which says of any that it is not ready."""

MAX_SECONDS = 20
"""5 on a machine of one's own."""


def commands(group: Any, prefix: str = "") -> Iterator[str]:
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup):
            yield from commands(each, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


ALL = set(commands(typer.main.get_command(app)))
COMMANDS = sorted(ALL - ON_THEIR_OWN)


class Outcome(NamedTuple):
    result: Result
    seconds: float


def run(command: str, state: Path, folder: Path, arguments: Sequence[str] | None = None, **environment: str) -> Outcome:
    (folder / "new.jsonl").write_text("")
    if arguments is None:
        arguments = [each.format(folder=folder) for each in ARGUMENTS.get(command, [])]
    runner = CliRunner(env={"SOUK_STATE_DIR": str(state), **environment})
    started = time.monotonic()
    result = runner.invoke(app, [*command.split(), *arguments])
    assert result.exit_code != 2, f"{command} needs an entry in ARGUMENTS: {result.output}"
    return Outcome(result, time.monotonic() - started)


def expect_sentence(outcome: Outcome, named: str, cure: str) -> None:
    """Nothing but one line on the error output, soon."""
    result, seconds = outcome
    assert seconds < MAX_SECONDS
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), (result.exception, result.output)
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.startswith("souk: ")
    assert named in result.stderr
    assert cure in result.stderr


def test_the_table_names_commands() -> None:
    assert ALL >= ON_THEIR_OWN
    assert set(COMMANDS) >= {*ARGUMENTS, *(each for needed in NEEDS.values() for each in needed)}
    assert NEEDS.keys() == {name for name in SERVERS if name != "prometheus"}


@pytest.mark.parametrize("command", COMMANDS)
def test_while_nothing_runs(command: str, tmp_path: Path) -> None:
    outcome = run(command, tmp_path / "state", tmp_path)
    if command in ("logs", "settings"):
        assert outcome.result.exit_code == 0, outcome.result.output
    else:
        expect_sentence(outcome, "Souk is not running", "./souk up")


@pytest.mark.parametrize("server", NEEDS)
def test_while_an_external_server_is_unavailable(stack: Stack, server: str, tmp_path: Path) -> None:
    scheme = {"postgres": "postgresql", "mongo": "mongodb", "rabbitmq": "amqp", "consul": "http", "redis": "redis"}[
        server
    ]
    given = {SERVERS[server].variable: f"{scheme}://127.0.0.1:{free_port()}"}
    for command in NEEDS[server]:
        expect_sentence(
            run(command, stack.state.path, tmp_path, **given),
            f"{SERVERS[server].title} is unavailable",
            next(iter(given)),
        )


@pytest.mark.parametrize("command", sorted(WITH_BACKUPS))
def test_while_the_place_of_the_backups_is_unavailable(command: str, tmp_path: Path) -> None:
    expect_sentence(
        run(command, tmp_path / "state", tmp_path, SOUK_BACKUP_DIR=""), "SOUK_BACKUP_DIR", "./souk backup init"
    )
    url = f"http://127.0.0.1:{free_port()}"
    given = {
        "SOUK_BACKUP_DIR": "s3://souk/backups",
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }
    bucket = run(command, tmp_path / "state", tmp_path, **given)
    expect_sentence(bucket, f"{url} does not respond", "AWS_ENDPOINT_URL")


def test_while_the_edge_is_unavailable(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    arguments = [f"--against={address}", f"--admin=http://{address}"]
    expect_sentence(run("kong golden", tmp_path, tmp_path, arguments), "The edge does not respond", "--against")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with installed(tmp_path_factory.mktemp("commands")) as running:
        yield running


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("server", NEEDS)
def test_while_a_server_is_stopped(own: Stack, server: str, tmp_path: Path) -> None:
    own.supervisor.stop([server])
    try:
        for command in COMMANDS:
            outcome = run(command, own.state.path, tmp_path)
            if command == "status":
                expect_sentence(outcome, server, "./souk up")
            elif command in NEEDS[server]:
                expect_sentence(outcome, f"{SERVERS[server].title} is unavailable", "./souk up")
            elif command == "drill":
                expect_sentence(outcome, "This drill needs 3 instances", "./souk scale users=3")
            elif command == "backup create":
                expect_sentence(outcome, "SOUK_BACKUP_DIR", "./souk backup init")
            elif AN_ID in ARGUMENTS.get(command, []):
                # The services' commands print their sentence themselves.
                assert isinstance(outcome.result.exception, SystemExit)
                assert (outcome.result.exit_code, outcome.seconds < MAX_SECONDS) == (1, True), command
                assert AN_ID in outcome.result.stderr or command.startswith("sagas "), outcome.result.output
            else:
                assert outcome.result.exit_code == 0, (command, outcome.result.output)
    finally:
        own.supervisor.start_program(server)
        for program in (server, *own.supervisor.statuses()):
            own.wait_ready(program)
        until(lambda: edge_is_whole(own))
