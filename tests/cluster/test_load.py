"""`./souk cluster load` and `demo` where something is missing."""

from pathlib import Path

import pytest

from launcher.cluster.cluster import FILE, Cluster
from launcher.cluster.theirs import Theirs
from launcher.errors import LaunchError
from launcher.kubernetes import demo
from launcher.progress import Progress


@pytest.fixture(autouse=True)
def _without_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_an_image_that_is_neither_here_nor_dockers_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"network": 64, "owner": "", "programs": "/nowhere"}')
    with pytest.raises(LaunchError, match=r"shop\.tar is neither an archive nor one of Docker"):
        Cluster(tmp_path).load("shop.tar")


def test_anothers_cluster_needs_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUK_STATE_DIR", str(tmp_path))
    kubectl = tmp_path / "kubectl"
    kubectl.touch(mode=0o700)
    with pytest.raises(LaunchError, match="Docker, which would build the image"):
        demo.install(Theirs(tmp_path / "kubeconfig", "kind"), Progress())
