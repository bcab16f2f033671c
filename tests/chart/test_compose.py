"""compose.yaml: the real docker compose accepts it, and every path, program, setting and port in it exists."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from chassis.base import tracing
from chassis.base.tracing import Kind, Span
from launcher import compose, settings
from launcher.kubernetes import chart, place
from launcher.manifests import ROLES
from launcher.stack import Stack
from launcher.state import REPOSITORY
from tests.chart.conftest import values

CONTENT = yaml.safe_load(compose.FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = CONTENT["services"]
OURS = {name: each for name, each in SERVICES.items() if "build" in each}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `./souk compose secrets` has written."""
    state = tmp_path_factory.mktemp("compose")
    compose.write_secrets(place.stack(state / "kubernetes", {}), state / "compose")
    return state


def command(service: Mapping[str, Any]) -> list[str]:
    found = service.get("command", service.get("entrypoint", []))
    return found[found.index("-m") + 1 :] if "-m" in found else re.findall(r"-m (\S+)", " ".join(found))


def test_it_is_fresh(stack: Stack) -> None:
    assert compose.FILE.read_text() == compose.text(chart.programs(stack)), "./souk compose generate"


def test_docker_compose_accepts_it(folder: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "docker-compose", "--file", compose.FILE, "config", "--format=json"],
        env={"PATH": os.environ["PATH"], "SOUK_STATE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    # This build of it ends with 0 in any case.
    assert done.stdout, done.stderr
    assert not done.stderr
    found = yaml.safe_load(done.stdout)["services"]
    assert set(found) == set(SERVICES)
    # As programs get them: unchanged by compose's own use of $ and quotes.
    keys = (folder / "compose/console-web/SOUK_SESSION_KEYS").read_text()
    assert found["console-web"]["environment"]["SOUK_SESSION_KEYS"] == keys


def test_every_program_and_server_is_there() -> None:
    assert {*ROLES, "gateway", "console-web", *values("values/kind.yaml")["servers"], *compose.OBSERVING} <= set(
        SERVICES
    )


def test_programs_exist_and_read_every_setting_that_they_get(folder: Path) -> None:
    for name, service in OURS.items():
        named, *arguments = command(service)
        assert importlib.util.find_spec(named), name
        program = arguments[-1] if named == "chassis" else named
        given = {*service["environment"]}
        for file in service.get("env_file", []):
            lines = (folder / "compose" / Path(file).name).read_text().splitlines()
            given |= {line.partition("=")[0] for line in lines}
        known = settings.names(program.split(".")[1])
        assert not {each for each in given if each.startswith("SOUK_")} - known, name


def test_every_mounted_file_exists(folder: Path) -> None:
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source, _, _ = mount.replace(compose.FOLDER, str(folder / "compose")).partition(":")
            if source.startswith("./"):
                assert (REPOSITORY / source).exists(), (name, source)
            elif source.startswith(str(folder)):
                assert any(Path(source).iterdir()), (name, source)
            elif not source.startswith("/"):
                assert source in CONTENT["volumes"], (name, source)
        for config in service.get("configs", []):
            assert config["source"] in CONTENT["configs"]


def test_up_waits_for_each_program_that_ends() -> None:
    """`up --wait` fails when one has ended that no other waits for."""
    ending = {name for name, service in SERVICES.items() if service.get("restart") != "unless-stopped"}
    awaited = {
        name
        for service in SERVICES.values()
        for name, dependency in service.get("depends_on", {}).items()
        if dependency["condition"] == "service_completed_successfully"
    }
    assert awaited == ending


def test_no_container_has_anothers_network() -> None:
    """It would keep the old one's when that is replaced."""
    assert not [name for name, service in SERVICES.items() if "network_mode" in service]


def test_images_are_the_charts() -> None:
    servers = values("values/kind.yaml")["servers"]
    for name, server in servers.items():
        if "image" in server:
            assert SERVICES[name]["image"] == server["image"]
    assert SERVICES["gateway"]["image"] == values("values.yaml")["kong"]["image"]
    for service in SERVICES.values():
        assert re.fullmatch(r"[a-z/]+:[a-z0-9.-]+", service["image"]), "an official image, with its version"


def test_addresses_name_services_and_their_ports() -> None:
    servers = values("values/kind.yaml")["servers"]
    listening = {name: set(server["ports"].values()) for name, server in servers.items()}
    listening |= {name: {8080} for name in ROLES if not name.endswith("-sidecar")}
    listening |= {"console-web": {8080}, "gateway": {8000}, "tempo": {4318, 3200}, "loki": {3100}, "prometheus": {9090}}
    text = re.sub(r"(127\.0\.0\.1|0\.0\.0\.0|\$\$\(hostname -i\)):\d+", "", compose.FILE.read_text())
    found = set(re.findall(r"(?:://|[\"'])([a-z][a-z-]*):(\d+)", text))
    assert {host for host, _ in found} >= {"consul", "tempo", "console-web", "orders-web", "loki"}
    for host, port in found:
        assert int(port) in listening[host], (host, port)


def test_exemplars_and_log_lines_lead_to_traces() -> None:
    sources = yaml.safe_load(CONTENT["configs"]["datasources"]["content"])["datasources"]
    found = {source["type"]: source for source in sources}
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]
    [of_exemplar] = found["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    [of_line] = found["loki"]["jsonData"]["derivedFields"]
    assert of_exemplar["datasourceUid"] == of_line["datasourceUid"] == found["tempo"]["uid"]
    span = Span("work", Kind.INTERNAL, "a" * 32, "")
    assert tracing.exemplar(span) == {of_exemplar["name"]: span.trace_id}
    written = re.search(of_line["matcherRegex"], json.dumps({"event": "request", "trace_id": span.trace_id}))
    assert written is not None
    assert written[1] == span.trace_id


def test_only_this_machine_reaches_its_ports() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:3000:3000", "127.0.0.1:8000:8000", "127.0.0.1:8025:8025"]
