"""What Prometheus and Alertmanager are told, and what is said where they are missing."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from launcher.program import Program
from launcher.progress import PlainProgress
from launcher.servers import Prometheus
from launcher.stack import Stack
from tests.installation import DEADLINE_SECONDS, planned, until
from tests.ports import free_port


def prometheus_of(stack: Stack) -> Prometheus:
    server = stack.servers["prometheus"]
    assert isinstance(server, Prometheus)
    return server


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all the commands that there are."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def add(folder: Path, *commands: str) -> None:
    for command in commands:
        (folder / command).write_text("#!/bin/sh\n")
        (folder / command).chmod(0o755)


def test_a_missing_alertmanager_costs_one_line_and_nothing_else(
    tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(path, "prometheus", "prometheus-postgres-exporter", "prometheus-redis-exporter")
    stack = planned(tmp_path)
    stack.installation.progress = PlainProgress()
    server = prometheus_of(stack)
    assert server.find()
    [line] = capsys.readouterr().out.splitlines()
    assert line == (
        "No prometheus-alertmanager: alerts are evaluated but not delivered. apt-get install prometheus-alertmanager"
    )
    server.prepare()
    assert [program.name for program in server.programs()] == ["postgres-exporter", "redis-exporter", "prometheus"]


def configured(stack: Stack) -> Any:
    prometheus_of(stack).prepare()
    return json.loads((stack.state.path / "prometheus" / "alertmanager.json").read_text())


def test_alerts_go_to_the_mailbox_and_to_a_given_webhook(tmp_path: Path) -> None:
    webhook = "http://127.0.0.1:9/alerts"
    stack = planned(tmp_path, {"SOUK_ALERT_WEBHOOK_URL": webhook, "SOUK_ALERT_EMAIL": "leila@example.com"})
    operators, watchdog = configured(stack)["receivers"]
    [mail] = operators["email_configs"]
    assert (mail["to"], mail["smarthost"]) == (
        "leila@example.com",
        f"127.0.0.1:{stack.installation.ports['mailbox-smtp']}",
    )
    assert "email_configs" not in watchdog, "it would fill the mailbox"
    assert all(receiver["webhook_configs"][0]["url"] == webhook for receiver in (operators, watchdog))


def test_labels_of_ours_hide_none_of_kongs(tmp_path: Path) -> None:
    stack = planned(tmp_path)
    server = prometheus_of(stack)
    server.prepare()
    server.set_targets({"orders-web": 1, "gateway-admin": 2}, ["rabbitmq", "consul"])
    targets = stack.state.path / "prometheus" / "targets"
    found = json.loads((targets / "programs.json").read_text())
    assert [group["labels"] for group in found] == [
        {"program": "gateway-admin", "app": "gateway"},
        {"program": "orders-web", "app": "orders"},
    ]


def test_an_external_server_is_not_scraped(tmp_path: Path, path: Path) -> None:
    add(path, "prometheus", "prometheus-postgres-exporter", "prometheus-redis-exporter")
    stack = planned(tmp_path, {"SOUK_POSTGRES_URL": "postgresql://elsewhere/shop"})
    server = prometheus_of(stack)
    server.prepare()
    server.set_targets({}, ["redis"])
    targets = stack.state.path / "prometheus" / "targets"
    assert json.loads((targets / "postgres.json").read_text()) == []
    assert json.loads((targets / "rabbitmq.json").read_text()) == []
    assert len(json.loads((targets / "redis.json").read_text())) == 2


@pytest.mark.skipif(not shutil.which("prometheus-redis-exporter"), reason="There is no exporter.")
def test_the_exporter_sends_its_password_to_our_redis_only(tmp_path: Path) -> None:
    stack = planned(tmp_path)
    stack.installation.ports["redis-exporter"] = free_port()
    server = prometheus_of(stack)
    server.prepare()
    [exporter] = [program for program in server.programs() if program.name == "redis-exporter"]
    passwords = json.loads((tmp_path / "state/prometheus/redis-passwords.json").read_text())
    assert {url.rpartition(":")[2] for url in passwords} == {
        str(stack.installation.ports[name]) for name in ("redis", "redis-cache")
    }
    with socket.create_server(("127.0.0.1", 0)) as stranger, listening_on(exporter) as port:
        stranger.settimeout(DEADLINE_SECONDS)
        query = urlencode({"target": f"redis://127.0.0.1:{stranger.getsockname()[1]}"})
        with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as asking:
            asking.sendall(f"GET /scrape?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            connection, _ = stranger.accept()
            with connection:
                connection.settimeout(DEADLINE_SECONDS)
                assert b"AUTH" not in connection.recv(1_000)


@contextmanager
def listening_on(exporter: Program) -> Iterator[int]:
    """Its port, while it runs."""
    process = subprocess.Popen(exporter.command, env={**os.environ, **exporter.environment}, stderr=subprocess.DEVNULL)
    port = int(str(exporter.command[1]).rpartition(":")[2])

    def listens() -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    try:
        until(listens)
        yield port
    finally:
        process.kill()
        process.wait()
