"""A cluster of two nodes with Souk on it, from nothing: the servers on the first, as our clusters have no volumes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from launcher import apt
from launcher.check import OPERATORS_LOCK, SERVICES_LOCK
from launcher.cluster.cluster import Cluster
from launcher.kubernetes import images
from launcher.progress import Progress
from launcher.state import REPOSITORY
from tests.chart.live.shop import Shop
from tests.installation import ATTEMPT_SECONDS

HOME = Path(__file__).parent

KEPT = "SOUK_KEPT_CLUSTER"
"""An environment variable: a folder whose cluster stays for the next run."""

SECONDS = 3600
MANY = 1_000_000

SETTINGS = {
    # As in tests/installation.py: no deadline hides a lost message, and customers are faster than any.
    "SOUK_REPLY_GRACE_SECONDS": "3600",
    "SOUK_ATTEMPT_SECONDS": str(ATTEMPT_SECONDS),
    "SOUK_RATE_LIMITS": json.dumps(dict.fromkeys(("enter", "anonymous", "token", "partner"), MANY)),
    "SOUK_MAX_PER_HOUR": json.dumps(dict.fromkeys(("email", "sms", "push"), MANY)),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HOME in item.path.parents:
            item.add_marker(pytest.mark.long)
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    if not (apt.is_available() and shutil.which("go")):
        pytest.skip("NOT TESTED ON KUBERNETES: a cluster of our own needs root, apt and Go.")
    kept = os.environ.get(KEPT)
    folder = Path(kept) if kept else tmp_path_factory.mktemp("demo") / "state"
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environment |= {"SOUK_STATE_DIR": str(folder), **SETTINGS}
    cluster = Cluster(folder / "cluster")
    try:
        printed = souk("cluster", "demo", environment=environment)
        if "n2" not in cluster.ready_nodes():
            cluster.up(nodes=2)
            for image in sorted((folder / "kubernetes/images").glob("*.tar")):
                cluster.node(2).load(image)
        yield Shop(cluster, folder, printed, environment)
    finally:
        if not kept:
            cluster.down(wipe=True)


@pytest.fixture(scope="session")
def operators(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Their image's name."""
    image = images.souk(tmp_path_factory.mktemp("operators"), 0, Progress(), lock=OPERATORS_LOCK)
    shop.cluster.load(str(image.archive))
    return image.name


@pytest.fixture
def changed(shop: Shop, tmp_path: Path) -> Callable[[str, str], str]:
    """Makes an image of this code but for one file, and returns its name; every node has it."""

    def image(path: str, text: str) -> str:
        folder = tmp_path / "code"
        for name in images.CODE:
            shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(REPOSITORY / SERVICES_LOCK, folder / SERVICES_LOCK)
        (folder / path).write_text(text)
        made = images.souk(tmp_path, 0, Progress(), repository=folder)
        shop.cluster.load(str(made.archive))
        made.archive.unlink()
        return made.name

    return image


def souk(*arguments: str, environment: Mapping[str, str]) -> str:
    command = [sys.executable, "-m", "launcher", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
