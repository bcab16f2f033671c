"""The chart on a real cluster of its own, from nothing to a paid order; and who reaches whom there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from launcher import apt
from launcher.cluster.cluster import Cluster
from launcher.cluster.kubectl import Kubectl
from launcher.kubernetes import demo
from launcher.state import REPOSITORY

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (apt.is_available() and shutil.which("go")), reason="NOT RUN: a cluster of our own needs root, apt and Go"
    ),
]

CONNECT = """
import socket, sys
host, port = sys.argv[1].split(":")
try:
    socket.create_connection((host, int(port)), 5)
    print("passes")
except OSError:
    print("refused")
"""

EDGES = {
    ("orders-web", "products:8080"): "passes",
    ("orders-web", "users:8080"): "refused",
    ("orders-web", "postgres:5432"): "passes",
    ("orders-web", "mongo:27017"): "refused",
    ("payments-celery", "bank:8080"): "passes",
    ("payments-web", "bank:8080"): "refused",
    ("notifications-celery", "users:8080"): "passes",
    ("notifications-web", "users:8080"): "refused",
    ("gateway", "users:8080"): "passes",
    ("gateway", "postgres:5432"): "refused",
}


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


def souk(*arguments: str, environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "launcher", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(3600)
def test_an_order_is_paid_through_the_edge(installed: tuple[Kubectl, str]) -> None:
    assert "payment.captured" in installed[1]
    assert "placed to confirmed" in installed[1]


def test_pods_reach_what_they_may_and_nothing_else(installed: tuple[Kubectl, str]) -> None:
    kubectl, _ = installed
    found = {
        (program, address): kubectl(
            *(
                f"--namespace={demo.NAMESPACE}",
                "exec",
                f"deployment/{program}",
                "-c",
                program.partition("-")[2] or program,
            ),
            *("--", "/venv/bin/python", "-c", CONNECT, address),
        ).strip()
        for program, address in EDGES
    }
    assert found == EDGES


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
