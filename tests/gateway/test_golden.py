"""The golden cases against our gateway, and against real Kong where `./souk test --servers=containers` has started one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from launcher.golden import case, runner
from launcher.golden.case import Group
from launcher.golden.runner import Edge, Runner
from tests.gateway.process import ROOT
from tests.installation import until
from tests.ports import free_port

SECTIONS = 17
"""In the description of Kong's behaviour."""


KONG = os.environ.get("SOUK_TEST_KONG_URL", "")
EDGES = ["gateway", *(["kong"] if KONG else [])]


@pytest.fixture(scope="module", params=EDGES)
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    if request.param == "kong":
        address = urlsplit(KONG)
        assert address.hostname
        assert address.port
        with runner.running(Edge(address.hostname, address.port, os.environ["SOUK_TEST_KONG_ADMIN_URL"])) as running:
            yield running
    else:
        with our_gateway(tmp_path_factory.mktemp("golden")) as running:
            yield running


@contextmanager
def our_gateway(folder: Path) -> Iterator[Runner]:
    (folder / "kong.yml").write_text('_format_version: "3.0"\n')
    port, admin_port = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "SOUK_PORT": str(port),
        "SOUK_ADMIN_PORT": str(admin_port),
        "SOUK_KONG_FILE": str(folder / "kong.yml"),
        "SOUK_REDIS_URL": os.environ.get("SOUK_TEST_REDIS_URL", ""),
        **{name: value for name, value in os.environ.items() if name.startswith("COV")},
    }
    admin = f"http://127.0.0.1:{admin_port}"
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "services.gateway"]
        gateway = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)

    def responds() -> bool:
        assert gateway.poll() is None, (folder / "log").read_text()
        try:
            return urllib3.request("GET", f"{admin}/status", retries=False, timeout=5).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    try:
        until(responds)
        with runner.running(Edge("127.0.0.1", port, admin)) as running:
            yield running
    finally:
        gateway.terminate()
        gateway.wait()


def groups() -> list[object]:
    numbered = [(f"{name}-{number}", group) for number, (name, group) in enumerate(case.groups(), 1)]
    return [pytest.param(group, id=name) for name, group in numbered]


@pytest.mark.parametrize("group", groups())
def test_an_edge_responds_as_kong_does(golden: Runner, group: Group) -> None:
    wrong = [f"{outcome.case.name}: {each}" for outcome in golden.run(group) for each in outcome.wrong]
    assert not wrong, "\n".join(wrong)


def test_each_case_names_its_source_and_is_unique() -> None:
    cases = [each for _, group in case.groups() for each in group.cases]
    assert len(cases) >= 120
    assert all(1 <= int(each.section) <= SECTIONS for each in cases)
    assert len({each.name for each in cases}) == len(cases)
