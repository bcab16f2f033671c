"""The chart on a real cluster of its own, from nothing to a paid order, with programs killed; and who reaches whom there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest
import urllib3

from launcher import apt
from launcher import demo as customer
from launcher.cluster.cluster import Cluster
from launcher.cluster.kubectl import Kubectl
from launcher.kubernetes import demo
from launcher.state import REPOSITORY
from tests.chart.conftest import Render, of, values
from tests.chart.test_security import allowed

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (apt.is_available() and shutil.which("go")), reason="NOT RUN: a cluster of our own needs root, apt and Go"
    ),
]

CONNECT = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def passes(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 10).close()
        return True
    except OSError:
        return False

addresses = sys.argv[1:]
with ThreadPoolExecutor(len(addresses)) as pool:
    print(json.dumps([address for address, passed in zip(addresses, pool.map(passes, addresses)) if passed]))
"""

MANY_SECONDS = 600
VALUES = "values/kind.yaml+values/cluster.yaml"


def servers() -> dict[str, Any]:
    found: dict[str, Any] = values("values/kind.yaml")["servers"]
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kubectl, str]]:
    """kubectl, and what `./souk cluster demo` printed."""
    folder = tmp_path_factory.mktemp("demo") / "state"
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environment["SOUK_STATE_DIR"] = str(folder)
    cluster = Cluster(folder / "cluster")
    try:
        printed = souk("cluster", "demo", environment=environment)
        yield cluster.kubectl, printed
    finally:
        cluster.down(wipe=True)


@pytest.fixture(scope="module")
def url(installed: tuple[Kubectl, str]) -> str:
    """The edge's, whichever pod serves it."""
    return f"http://{on(installed)('get', 'service', 'gateway', '-o', 'jsonpath={.spec.clusterIP}')}"


def on(installed: tuple[Kubectl, str]) -> Callable[..., str]:
    """kubectl in the namespace."""
    return partial(installed[0], f"--namespace={demo.NAMESPACE}")


def souk(*arguments: str, environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "launcher", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(3600)
def test_an_order_is_paid_through_the_edge(installed: tuple[Kubectl, str]) -> None:
    assert "payment.captured" in installed[1]
    assert "placed to confirmed" in installed[1]


def test_the_edge_shows_the_shop(url: str) -> None:
    response = urllib3.request("GET", f"{url}/shop")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.timeout(1800)
def test_pods_reach_what_they_may_and_nothing_else(installed: tuple[Kubectl, str], render: Render) -> None:
    objects = render(VALUES)
    passing = allowed(objects, "egress", "to") & {
        (caller, callee) for callee, caller in allowed(objects, "ingress", "from")
    }
    ports = {name: f"{name}:{next(iter(server['ports'].values()))}" for name, server in servers().items()}
    # Its webs' own service names: users-web is users.
    targets = {name: f"{name.removesuffix('-web')}:8080" for name in of(objects, "Deployment") if name.endswith("-web")}
    targets |= ports
    for program in of(objects, "Deployment"):
        container = program.partition("-")[2] or program
        python = ("exec", f"deployment/{program}", "-c", container, "--", "/venv/bin/python", "-c", CONNECT)
        found = json.loads(on(installed)(*python, *targets.values()))
        assert {name for name, address in targets.items() if address in found} == {
            name for name in targets if (program, name) in passing
        }, program


@pytest.mark.timeout(3600)
def test_an_order_is_paid_after_each_program_was_killed(
    installed: tuple[Kubectl, str], url: str, render: Render
) -> None:
    for program, deployment in of(render(VALUES), "Deployment").items():
        labels = deployment["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        on(installed)("delete", "pods", "-l", selector, "--force", "--grace-period=0")
        on(installed)("rollout", "status", f"deployment/{program}", f"--timeout={MANY_SECONDS}s")
    customer.place_order(url)


def test_no_memory_limit_was_exceeded(installed: tuple[Kubectl, str]) -> None:
    kubectl, _ = installed
    pods = json.loads(kubectl(f"--namespace={demo.NAMESPACE}", "get", "pods", "-o", "json"))["items"]
    killed = {
        pod["metadata"]["name"]: status["lastState"]
        for pod in pods
        if pod["status"]["phase"] == "Running"
        for status in pod["status"]["containerStatuses"]
        if status["lastState"].get("terminated", {}).get("reason") == "OOMKilled"
    }
    assert not killed
