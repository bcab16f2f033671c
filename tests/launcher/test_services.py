"""What each program is told: enough to work, and nobody else's secrets."""

import pytest

from launcher.narrator import Narrator
from launcher.program import Program
from launcher.services import METRICS, PORTS, SERVICES, WITH_POSTGRES
from launcher.stack import Stack


@pytest.fixture
def programs(tmp_path) -> dict[str, Program]:
    stack = Stack(tmp_path / "state", narrator=Narrator())
    stack.state.make()
    names = [name for server in stack.servers.values() for name in server.ports]
    stack.installation.ports = {name: number for number, name in enumerate([*names, *PORTS], 20_000)}
    return {program.name: program for program in stack.services.programs()}


def test_every_service_has_its_web_process_and_its_worker(programs):
    assert {f"{service}-{role}" for service in SERVICES for role in ("web", "worker")} < set(programs)
    assert set(programs) == set(PORTS) - {"gateway-admin", "mailbox-smtp"}
    assert set(METRICS) - {"gateway-admin"} < set(programs)


def test_no_two_programs_listen_on_one_port(programs):
    ports = [program.environment["SOUK_PORT"] for program in programs.values()]
    assert len(set(ports)) == len(ports)


def test_a_service_sees_no_other_services_database_or_key(programs):
    for service in SERVICES:
        environment = programs[f"{service}-web"].environment
        if service in WITH_POSTGRES:
            assert environment["SOUK_DATABASE_URL"].startswith(f"postgresql://{service}:")
            assert environment["SOUK_DATABASE_URL"].endswith(f"/{service}")
        assert not any("KEY" in name and name != "SOUK_KEYS_FILE" for name in environment if "SANDBOX" not in name)


def test_only_who_needs_it_is_told_the_providers_key(programs):
    told = {name.partition("-")[0] for name, each in programs.items() if "SOUK_SANDBOX_KEY" in each.environment}
    assert told == {"payments", "bank"}


def test_keys_are_in_files_so_that_new_ones_need_no_restart(programs):
    told = {name: each.environment.get("SOUK_KEYS_FILE", "") for name, each in programs.items()}
    assert all(told[f"{service}-web"].endswith(f"/keys/{service}.json") for service in (*SERVICES,))
    assert told["gateway"].endswith("/keys/gateway.json")
    assert (told["bank"], told["mailbox"]) == ("", "")
