"""`./souk dev`: what is saved answers from the pods that run."""

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from launcher.state import REPOSITORY
from tests.chart.live.shop import MANY_SECONDS, Shop
from tests.installation import until

PAGE = "services/console/templates/login.html"
EDGE, NO_KEY = "services/gateway/plugins/key_auth.py", "No API key found in request"
STOP_SECONDS = 30


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone")
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for path in tracked.splitlines():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, folder / path)
    return folder


@pytest.fixture(scope="module")
def loop(clone: Path, shop: Shop) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "launcher", "dev"]
    process = subprocess.Popen(command, cwd=clone, env=shop.environment, stdout=subprocess.PIPE, text=True)
    yield process
    process.send_signal(signal.SIGINT)
    process.wait(STOP_SECONDS)


@pytest.fixture(scope="module")
def address(loop: "subprocess.Popen[str]") -> str:
    assert loop.stdout
    return next(filter(None, (re.search(r"Shop: (http://\S+)", line) for line in loop.stdout)))[1]


def test_a_saved_page_answers_from_the_pod_that_runs(
    clone: Path, loop: "subprocess.Popen[str]", address: str, shop: Shop
) -> None:
    def pods() -> list[tuple[str, int]]:
        items = shop.items("pods", "-l=app.kubernetes.io/name=console")
        return [(each["metadata"]["uid"], each["status"]["containerStatuses"][0]["restartCount"]) for each in items]

    before = pods()
    replace(clone / PAGE, "<h1>Log in</h1>", "<h1>Log in, changed</h1>")
    until(lambda: says(f"{address}/account/login", "Log in, changed"), MANY_SECONDS)
    assert pods() == before
    assert loop.stdout
    assert f"{PAGE}: into console-web-" in loop.stdout.readline()


def test_the_edge_answers_at_the_same_address_with_saved_code_and_from_another_pod(
    clone: Path, address: str, shop: Shop
) -> None:
    replace(clone / EDGE, NO_KEY, f"{NO_KEY}, changed")
    until(lambda: says(f"{address}/partners/products", f"{NO_KEY}, changed"), MANY_SECONDS)
    shop.kubectl("delete", "pod", *shop.pods("gateway"))
    until(lambda: says(f"{address}/partners/products", f"{NO_KEY}, changed"), MANY_SECONDS)


def replace(path: Path, old: str, new: str) -> None:
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))


def says(url: str, text: str) -> bool:
    try:
        return text in urllib3.request("GET", url, retries=False, timeout=10).data.decode()
    except urllib3.exceptions.HTTPError:
        return False
