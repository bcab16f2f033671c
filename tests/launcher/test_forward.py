"""A forwarded port survives the pods behind it. A script stands in for kubectl, and ends after each connection."""

from pathlib import Path

import pytest
import urllib3

from launcher.cluster.kubectl import Kubectl
from launcher.errors import LaunchError
from launcher.kubernetes.demo import forwarded
from tests.installation import until

KUBECTL = """#!/usr/bin/env python3
import socket, sys
if "port-forward" in sys.argv:
    server = socket.create_server(("127.0.0.1", int(sys.argv[-1].partition(":")[0] or 0)))
    print("Forwarding from 127.0.0.1:%d -> 8000" % server.getsockname()[1], flush=True)
    print("Handling connection" * 10_000, flush=True)
    connection, _ = server.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 204 No Content\\r\\n\\r\\n")
"""


def kubectl(folder: Path, script: str) -> Kubectl:
    binary = folder / "kubectl"
    binary.write_text(script)
    binary.chmod(0o755)
    return Kubectl(binary, folder / "kubeconfig")


def test_a_forwarded_port_is_opened_again_when_its_pod_ends(tmp_path: Path) -> None:
    pool = urllib3.PoolManager(timeout=5, retries=False)

    def answers() -> bool:
        try:
            return pool.request("GET", f"http://{address}", headers={"Connection": "close"}).status == 204
        except urllib3.exceptions.HTTPError:
            return False

    with forwarded(kubectl(tmp_path, KUBECTL), "gateway", 80) as address:
        for _ in range(3):
            until(answers)
    assert not answers()


def test_without_a_pod_it_says_so(tmp_path: Path) -> None:
    with (
        pytest.raises(LaunchError, match="cannot forward the port of gateway"),
        forwarded(kubectl(tmp_path, "#!/bin/sh\nexit 1\n"), "gateway", 80),
    ):
        pass
