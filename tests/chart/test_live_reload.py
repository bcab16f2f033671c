"""Saved code is served without a new pod, as the chart's `liveReload` starts programs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3

from launcher.cluster.kubectl import Kubectl
from launcher.kubernetes.images import CODE
from launcher.kubernetes.live_reload import Copied, LiveReload, needs_release
from launcher.state import REPOSITORY
from tests.chart.conftest import DEVELOPMENT, KIND, PRODUCTION, Object, Render, containers, pods
from tests.installation import until
from tests.ports import free_port

PAGE = "services/console/templates/login.html"
MODULE = "services/console/app.py"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """As in an image whose code the pods' user may write."""
    for name in CODE:
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@contextmanager
def running(container: Object, folder: Path, port: int) -> Iterator[None]:
    command = [part.replace("/venv/bin/python", sys.executable) for part in (*container["command"], *container["args"])]
    environment = {"PATH": os.environ["PATH"], "SOUK_PORT": str(port), "SOUK_SESSION_KEYS": f'["{"A" * 43}="]'}
    process = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        yield
    finally:
        process.terminate()
        # By itself: SIGTERM may meet it while it ends the program.
        process.wait(30)


def test_a_saved_page_or_module_is_served_and_a_broken_one_waits_for_the_next(render: Render, code: Path) -> None:
    [container] = pods(render(*DEVELOPMENT))["console-web"]["spec"]["containers"]
    port, pool = free_port(), urllib3.PoolManager(timeout=5, retries=False)

    def says(text: str) -> bool:
        try:
            return text in pool.request("GET", f"http://127.0.0.1:{port}/account/login").data.decode()
        except urllib3.exceptions.HTTPError:
            return text == "nothing"

    def replace(path: str, old: str, new: str) -> None:
        before = (code / path).read_text()
        assert old in before
        (code / path).write_text(before.replace(old, new, 1))

    with running(container, code, port):
        until(lambda: says("<h1>Log in</h1>"))
        replace(PAGE, "<h1>Log in</h1>", "<h1>Log in, changed</h1>")
        until(lambda: says("<h1>Log in, changed</h1>"))
        replace(MODULE, "import", "important")
        until(lambda: says("nothing"))
        replace(MODULE, "important", "import")
        until(lambda: says("<h1>Log in, changed</h1>"))


def test_only_in_development_may_code_be_written(render: Render) -> None:
    for values, may_write in ((KIND, False), (PRODUCTION, False), (DEVELOPMENT, True)):
        ours = [
            each
            for pod in pods(render(*values)).values()
            for each in containers(pod)
            if "watchfiles" in each.get("args", [])
        ]
        assert bool(ours) == may_write
        assert not any(each["securityContext"]["readOnlyRootFilesystem"] or "livenessProbe" in each for each in ours)


KUBECTL = """#!/bin/sh
case "$*" in
    *" get pods "*) cat "$(dirname "$0")/pods.json" ;;
    *" going "*) echo 'Error from server (NotFound): pods "going" not found' >&2; exit 1 ;;
    *) tar --list ;;
esac
"""


def test_what_a_pod_that_goes_did_not_take_is_brought_to_the_next(tmp_path: Path) -> None:
    """By a program that stands in for kubectl."""

    def there_is(pod: str) -> None:
        spec = {"containers": [{"name": "web", "args": ["watchfiles", "--a", "--b", "python", "services/console"]}]}
        status = {"containerStatuses": [{"name": "web", "containerID": pod, "state": {"running": {}}}]}
        body = {"items": [{"metadata": {"name": pod}, "spec": spec, "status": status}]}
        (tmp_path / "pods.json").write_text(json.dumps(body))

    program = tmp_path / "kubectl"
    program.write_text(KUBECTL)
    program.chmod(0o755)
    live = LiveReload(Kubectl(program, tmp_path / "kubeconfig", "souk"))
    there_is("going")
    live.begin()
    copied = live.copy({Path(PAGE)})
    assert copied == Copied([], {"going": 'Error from server (NotFound): pods "going" not found'})
    # It is still there at the next look: that is said once.
    assert live.copy(set()) == Copied([], {})
    there_is("new")
    assert live.copy(set()) == Copied(["new"], {})
    assert live.copy(set()) == Copied([], {})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("services/orders/app.py", False),
        ("services/orders/migrations/0001_first.py", True),
        ("k8s/chart/values.yaml", True),
        ("kong/kong.yml", True),
        ("kongs.py", False),
    ],
)
def test_what_runs_before_the_programs_is_installed_anew(path: str, expected: bool) -> None:
    assert needs_release(Path(path)) is expected
