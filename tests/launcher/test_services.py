"""Each program's environment: what it needs, and no other program's secrets."""

import json
from pathlib import Path

import pytest

from launcher.manifests import SERVICES, WITH_POSTGRES
from launcher.program import Program
from launcher.services import PORTS, instance_names, sidecar_of
from launcher.stack import Stack
from tests.installation import planned


def programs_of(stack: Stack) -> dict[str, Program]:
    return {program.name: program for program in stack.services.programs()}


OWN_KEYS = {"payments": ["SOUK_SANDBOX_KEY"], "notifications": ["SOUK_LINK_KEY", "SOUK_VAPID_KEY"]}


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Program]:
    return programs_of(planned(tmp_path))


def test_every_service_has_a_web_process_a_sidecar_and_a_worker(programs):
    assert {f"{service}-{role}" for service in SERVICES for role in ("web", "sidecar", "worker")} < set(programs)
    assert set(programs) == set(PORTS) - {"gateway-admin", "gateway-tls", "mailbox-smtp"}


def test_additional_instances_have_their_own_names_ports_and_sidecars(tmp_path):
    programs = programs_of(planned(tmp_path, users=3))
    webs = instance_names("users", 3)
    assert webs == ["users-web", "users-web-2", "users-web-3"]
    for web in webs:
        environment = programs[sidecar_of(web)].environment
        assert environment["SOUK_INSTANCE_URL"] == f"http://127.0.0.1:{programs[web].environment['SOUK_PORT']}"
        assert (environment["SOUK_SERVICE"], environment["SOUK_INSTANCE"]) == ("users", web)
    assert "orders-web-2" not in programs
    ports = [program.environment["SOUK_PORT"] for program in programs.values()]
    assert len(set(ports)) == len(ports)


def test_another_instance_changes_no_other_program(tmp_path):
    one, three = (programs_of(planned(tmp_path / str(count), users=count)) for count in (1, 3))
    for name in ("orders-web", "gateway", "users-worker"):
        environments = [set(programs[name].environment) for programs in (one, three)]
        assert environments[0] == environments[1]
        assert "SOUK_SERVICES" in environments[0]
    assert one["orders-web"].environment["SOUK_SERVICES"] == "{}"


def test_a_sidecar_has_none_of_its_services_secrets(programs):
    environment = programs["users-sidecar"].environment
    assert not {"SOUK_DATABASE_URL", "SOUK_KEYS_FILE", "SOUK_BROKER_URL"} & set(environment)


def test_without_consul_there_are_fixed_addresses_and_no_sidecars(tmp_path):
    stack = planned(tmp_path)
    del stack.servers["consul"]
    programs = programs_of(stack)
    assert not [name for name in programs if "sidecar" in name]
    known = json.loads(programs["orders-web"].environment["SOUK_SERVICES"])
    assert known["products"] == f"http://127.0.0.1:{programs['products-web'].environment['SOUK_PORT']}"


def test_the_credentials_of_an_external_consul_are_passed_on(tmp_path):
    given = {"SOUK_CONSUL_URL": "http://consul.test:8500", "SOUK_CONSUL_TOKEN": "t"}
    programs = programs_of(planned(tmp_path, environment=given))
    assert {programs[name].environment["SOUK_CONSUL_TOKEN"] for name in ("users-sidecar", "orders-web")} == {"t"}


def test_no_two_programs_listen_on_one_port(programs):
    ports = [program.environment["SOUK_PORT"] for program in programs.values()]
    assert len(set(ports)) == len(ports)


def test_a_service_has_only_its_own_database_and_keys(programs):
    for service in SERVICES:
        environment = programs[f"{service}-web"].environment
        if service in WITH_POSTGRES:
            assert environment["SOUK_DATABASE_URL"].startswith(f"postgresql://{service}:")
            assert environment["SOUK_DATABASE_URL"].endswith(f"/{service}")
        others_keys = {name for name in environment if "KEY" in name} - {"SOUK_KEYS_FILE", *OWN_KEYS.get(service, ())}
        assert others_keys == set()


def test_only_payments_and_the_bank_have_the_providers_key(programs):
    holders = {name.partition("-")[0] for name, each in programs.items() if "SOUK_SANDBOX_KEY" in each.environment}
    assert holders == {"payments", "bank"}


def test_keys_are_in_files_so_that_a_rotation_needs_no_restart(programs):
    files = {name: each.environment.get("SOUK_KEYS_FILE", "") for name, each in programs.items()}
    assert all(files[f"{service}-web"].endswith(f"/keys/{service}.json") for service in SERVICES)
    assert files["gateway"].endswith("/keys/gateway.json")
    assert (files["bank"], files["mailbox"]) == ("", "")
