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
STOP_SECONDS = 30


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for path in tracked.splitlines():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, tmp_path / path)
    return tmp_path


@pytest.fixture
def loop(clone: Path, shop: Shop) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "launcher", "dev"]
    process = subprocess.Popen(command, cwd=clone, env=shop.environment, stdout=subprocess.PIPE, text=True)
    yield process
    process.send_signal(signal.SIGINT)
    process.wait(STOP_SECONDS)


def test_a_saved_page_answers_from_the_pod_that_runs(clone: Path, loop: "subprocess.Popen[str]", shop: Shop) -> None:
    assert loop.stdout
    found = next(filter(None, (re.search(r"Shop: (http://\S+)", line) for line in loop.stdout)))

    def pods() -> list[tuple[str, int]]:
        items = shop.items("pods", "-l=app.kubernetes.io/name=console")
        return [(each["metadata"]["uid"], each["status"]["containerStatuses"][0]["restartCount"]) for each in items]

    before = pods()
    (clone / PAGE).write_text((clone / PAGE).read_text().replace("<h1>Log in</h1>", "<h1>Log in, changed</h1>"))
    page = f"{found[1]}/account/login"
    until(lambda: b"Log in, changed" in urllib3.request("GET", page, retries=False).data, MANY_SECONDS)
    assert pods() == before
    assert f"{PAGE}: into console-web-" in loop.stdout.readline()
