"""`./souk test --servers=containers`: what it starts, what it says without an engine, and its servers where there is one."""

import json
from collections.abc import Iterator
from pathlib import Path

import docker
import psycopg2
import pytest
import redis
import yaml
from typer.testing import CliRunner

import launcher.commands  # noqa: F401 - importing registers them
from launcher import apt, compose, probes, testing
from launcher.cli import app
from launcher.containers.engine import expect_engine
from launcher.containers.plan import VARIABLES, Container, described, planned
from launcher.containers.servers import running
from launcher.errors import LaunchError
from launcher.kubernetes import place
from launcher.progress import Progress
from launcher.stack import Stack
from launcher.state import REPOSITORY
from launcher.temporary import SERVERS, Where

COMPOSE = yaml.safe_load(compose.FILE.read_text())["services"]


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return place.stack(tmp_path / "state", {})


def by_name(plan: Iterator[Container]) -> dict[str, Container]:
    return {container.name: container for container in plan}


def test_its_servers_are_those_of_compose(stack: Stack) -> None:
    found = by_name(planned(stack, described()))
    assert set(found) == set(SERVERS)
    for name, container in found.items():
        same = COMPOSE[name]
        assert (container.image, container.user) == (same["image"], same["user"])
        assert [part.replace("$", "$$") for part in container.command] == same["entrypoint"]
        assert same["environment"].items() <= container.environment.items()


def test_its_servers_have_the_files_and_passwords_that_their_programs_read(stack: Stack) -> None:
    found = by_name(planned(stack, described()))
    passwords = {name: stack.installation.secrets[name] for name in ("postgres", "mongo", "redis", "rabbitmq")}
    assert found["postgres"].files["/etc/souk/password"] == passwords["postgres"]
    assert found["mongo"].environment["MONGO_INITDB_ROOT_PASSWORD"] == passwords["mongo"]
    assert "/docker-entrypoint-initdb.d/users.js" in found["mongo"].files
    assert "port 6379\n" in found["redis"].files["/etc/souk/redis.conf"]
    assert json.loads(found["rabbitmq"].files["/etc/souk/definitions.json"])["users"]


def test_each_image_can_be_another(stack: Stack) -> None:
    other = {name: f"registry.example/{name}:1" for name in (*SERVERS, "consul")}
    servers = described(chosen=other)
    assert {name: servers[name]["image"] for name in other} == other
    assert by_name(planned(stack, servers))["redis"].image == other["redis"]
    assert described(chosen={"redis": "redis:7"})["postgres"] == described()["postgres"]


def test_the_image_of_debians_packages_serves_for_all_as_in_our_cluster() -> None:
    servers = described("made:1", {"redis": "redis:7"})
    assert (servers["postgres"]["image"], servers["redis"]["image"]) == ("made:1", "redis:7")
    cluster = yaml.safe_load((REPOSITORY / "k8s/chart/values/cluster.yaml").read_text())
    assert servers["mongo"]["command"] == cluster["servers"]["mongo"]["command"]


def test_its_variables_are_documented() -> None:
    documented = (REPOSITORY / "docs/settings.md").read_text()
    assert all(f"`{variable}`" in documented for variable in VARIABLES.values())


@pytest.mark.parametrize("servers", ["containers", "debian"])
def test_without_an_engine_one_line_says_what_to_do(servers: str, tmp_path: Path) -> None:
    runner = CliRunner(env={"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    result = runner.invoke(app, ["test", f"--servers={servers}", "tests/none"])
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1), result.output
    assert result.stderr.startswith("souk: No container engine responds (")
    assert "start Docker, or name another's socket in DOCKER_HOST" in result.stderr


@pytest.fixture
def engine() -> docker.DockerClient:
    try:
        expect_engine()
    except LaunchError as error:
        pytest.skip(f"NOT TESTED with containers: {error}")
    return docker.from_env()


def test_an_image_that_cannot_be_pulled_is_named(engine: docker.DockerClient, tmp_path: Path) -> None:
    missing = {"PATH": "", **dict.fromkeys(VARIABLES.values(), "localhost:1/none:1")}
    with (
        pytest.raises(
            LaunchError, match=r"localhost:1/none:1 cannot be pulled .* SOUK_TEST_\w+_IMAGE, .*--servers=debian"
        ),
        running(tmp_path, Where.CONTAINERS, Progress(), missing),
    ):
        pass


@pytest.mark.long
def test_servers_in_containers_answer_to_their_urls_and_end_with_the_tests(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    if not apt.is_available():
        pytest.skip("NOT TESTED with containers: their image is made by root on Debian.")
    before = {each.id for each in engine.containers.list(all=True)}
    with running(tmp_path, Where.DEBIAN, Progress()) as (stack, more):
        urls = testing.test_urls(stack)
        probes.mongo(urls["SOUK_TEST_MONGO_URL"])
        probes.rabbitmq(urls["SOUK_TEST_BROKER_URL"])
        assert redis.Redis.from_url(urls["SOUK_TEST_REDIS_URL"]).ping()
        connection = psycopg2.connect(urls["SOUK_TEST_POSTGRES_URL"])
        connection.close()
        assert more["SOUK_TEST_SERVERS"] == "debian"
        assert (tmp_path / "bin/consul").stat().st_mode & 0o111
        assert {path.stem for path in Path(urls["SOUK_TEST_SERVER_LOGS"]).glob("*.log")} >= set(SERVERS)
    assert {each.id for each in engine.containers.list(all=True)} <= before
