"""The closed loop: a fault fires exactly its alerts, the runbook's commands are run, and the alerts resolve.

With real Prometheus and Alertmanager, whose times are FACTOR times shorter; `-m long` writes docs/alerts.md.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg2
import pytest
import redis
import urllib3
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kombu import Connection

from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from contracts.users import UserDeleted
from launcher.stack import Stack
from tests.installation import ROOT, mails_url, until
from tests.ports import free_port

FACTOR = 10
"""As many times shorter: `for`, ranges, ages and the pace of scrapes."""

FIRE_SECONDS = RESOLVE_SECONDS = 480
RUNBOOKS = ROOT / "monitoring" / "runbooks"
TABLE = ROOT / "docs" / "alerts.md"
RABBITMQCTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"

HEAD = f"""\
# Faults and their alerts

Written by `./souk test tests/chaos/test_alerts.py -m long`, which causes each fault in a running installation, waits until its alerts
reach a webhook, runs the commands of the runbook, and waits until the alerts have resolved. No other alert may fire.
Times and ages in the rules were {FACTOR} times shorter than in monitoring/, and the seconds are those measured so.

| fault | alerts | fires after | repaired by | resolves after |
|---|---|---|---|---|
"""

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def shorter(duration: str) -> str:
    return f"{max(1, int(duration[:-1]) * UNITS[duration[-1]] // FACTOR)}s"


def faster(rules: Any) -> Any:
    """Rules whose every duration is shorter."""
    for group in rules["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = re.sub(r"\[(\d+[smhd])\]", lambda found: f"[{shorter(found[1])}]", rule["expr"])
            if re.search(r"time\(\) -", rule["expr"]):
                rule["expr"] = re.sub(r"> (\d+)$", lambda found: f"> {int(found[1]) / FACTOR}", rule["expr"])
            for name in {"for", "keep_firing_for"} & rule.keys():
                rule[name] = shorter(rule[name])
    return rules


@dataclass
class Inbox:
    """What the webhook received."""

    events: list[tuple[float, str, str, str]] = field(default_factory=list)
    """When, alert, status, fingerprint."""

    watched: int = 0

    def receive(self, body: Any) -> None:
        for alert in body["alerts"]:
            if alert["labels"]["alertname"] == "Watchdog":
                self.watched += 1
            else:
                event = (time.monotonic(), alert["labels"]["alertname"], alert["status"], alert["fingerprint"])
                self.events.append(event)

    def fired_since(self, start: float) -> set[str]:
        return {alert for at, alert, status, _ in self.events if at >= start and status == "firing"}

    def open(self) -> set[str]:
        """Firing, by the last word on each."""
        last = {fingerprint: (alert, status) for _, alert, status, fingerprint in list(self.events)}
        return {alert for alert, status in last.values() if status == "firing"}


@dataclass
class Monitored:
    stack: Stack
    inbox: Inbox
    prometheus: str

    def pending(self) -> list[str]:
        """Names of alerts that fire or are about to."""
        found = urllib3.request("GET", f"{self.prometheus}/api/v1/alerts").json()["data"]["alerts"]
        return [alert["labels"]["alertname"] for alert in found if alert["labels"]["alertname"] != "Watchdog"]

    def is_quiet(self) -> bool:
        return not self.pending() and not self.inbox.open()

    def souk(self, *arguments: str) -> None:
        """As an operator would, on this installation."""
        environment = self.stack.installation.environment | {"SOUK_STATE_DIR": str(self.stack.state.path)}
        outcome = subprocess.run(
            [sys.executable, "-m", "launcher", *arguments],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not outcome.returncode, outcome.stdout + outcome.stderr


@contextmanager
def webhook(inbox: Inbox) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            inbox.receive(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Not into the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()


@contextmanager
def running(command: Sequence[str], folder: Path) -> Iterator[None]:
    with open(folder / f"{Path(command[0]).name}.log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def alertmanager(folder: Path, installed: Path, url: str, port: int) -> list[str]:
    """The installation's configuration, with our webhook beside its mails."""
    configuration = json.loads((installed / "alertmanager.json").read_text())
    for route in (configuration["route"], *configuration["route"]["routes"]):
        for name in ("group_wait", "group_interval"):
            route[name] = "1s"
        route["repeat_interval"] = shorter(route["repeat_interval"])
    for receiver in configuration["receivers"]:
        receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]
    (folder / "alertmanager.yml").write_text(json.dumps(configuration))
    options = ["--config.file=alertmanager.yml", "--storage.path=alerts", "--cluster.listen-address="]
    return ["prometheus-alertmanager", *options, f"--web.listen-address=127.0.0.1:{port}"]


def prometheus(folder: Path, installed: Path, alertmanager_port: int, port: int) -> list[str]:
    """The installation's configuration, faster."""
    configuration = yaml.safe_load((installed / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"}
    configuration["alerting"] = {
        "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager_port}"]}]}]
    }
    for scraped in configuration["scrape_configs"]:
        for found in scraped["file_sd_configs"]:
            found["files"] = [str(installed / file) for file in found["files"]]
        if "authorization" in scraped:
            scraped["authorization"]["credentials_file"] = str(installed / "consul-token")
    (folder / "rules").mkdir()
    for file in (installed / "rules").glob("*.yml"):
        (folder / "rules" / file.name).write_text(yaml.safe_dump(faster(yaml.safe_load(file.read_text()))))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
    # Resolved alerts are told for so long.
    return ["prometheus", *options, f"--web.listen-address=127.0.0.1:{port}", "--rules.alert.resend-delay=2s"]


@pytest.fixture(scope="module")
def monitored(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    if not shutil.which("prometheus") or not shutil.which("prometheus-alertmanager"):
        pytest.skip("needs apt-get install prometheus prometheus-alertmanager")
    folder, installed, inbox = tmp_path_factory.mktemp("monitoring"), stack.state.path / "prometheus", Inbox()
    ports = [free_port(), free_port()]
    with ExitStack() as opened:
        url = opened.enter_context(webhook(inbox))
        opened.enter_context(running(alertmanager(folder, installed, url, ports[0]), folder))
        opened.enter_context(running(prometheus(folder, installed, *ports), folder))
        found = Monitored(stack, inbox, f"http://127.0.0.1:{ports[1]}")
        # The watchdog shows that the loop is closed.
        until(lambda: inbox.watched, FIRE_SECONDS)
        yield found


@dataclass(frozen=True)
class Fault:
    alerts: Sequence[str]
    inject: Callable[[Monitored], Any]
    """A context manager. It undoes only what no command undoes."""

    commands: Sequence[str] = ()
    """From the first alert's runbook."""


def freeze(program: str) -> Callable[[Monitored], Any]:
    """For good: only a restart helps."""

    @contextmanager
    def inject(monitored: Monitored) -> Iterator[None]:
        psutil.Process(monitored.stack.supervisor.statuses()[program].pid).suspend()
        yield

    return inject


def stop(program: str) -> Callable[[Monitored], Any]:
    @contextmanager
    def inject(monitored: Monitored) -> Iterator[None]:
        monitored.stack.supervisor.stop([program])
        yield

    return inject


def send(monitored: Monitored, message: Message, exchange: str, key: str) -> None:
    envelope = Envelope.of(message, "users")
    with Connection(monitored.stack.url("rabbitmq")) as connection:
        connection.Producer().publish(envelope.to_json(), exchange=exchange, routing_key=key, delivery_mode=2)


@contextmanager
def give_up_a_message(monitored: Monitored) -> Iterator[None]:
    """A dead letter whose cause is gone: nobody is to be erased."""
    send(monitored, UserDeleted(uuid4()), "", broker.dead_letter_queue("notifications").name)
    yield


@contextmanager
def leave_a_message_waiting(monitored: Monitored) -> Iterator[None]:
    monitored.stack.supervisor.stop(["notifications-worker"])
    send(monitored, UserDeleted(uuid4()), "", "notifications")
    yield


@contextmanager
def send_to_nobody(monitored: Monitored) -> Iterator[None]:
    """Until somebody removes it."""
    send(monitored, UserDeleted(uuid4()), broker.EXCHANGE.name, "nobody.handles")
    yield
    with Connection(monitored.stack.url("rabbitmq")) as connection:
        connection.default_channel.queue_purge(broker.UNROUTED)


@contextmanager
def hold_lock(monitored: Monitored) -> Iterator[None]:
    """Until an operator ends it, which the server may do alone."""
    connection = psycopg2.connect(monitored.stack.url("postgres").rpartition("/")[0] + "/orders")
    connection.cursor().execute("LOCK TABLE orders")
    yield
    connection.close()


@contextmanager
def fill_redis(monitored: Monitored) -> Iterator[None]:
    with redis.Redis.from_url(monitored.stack.url("redis")) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"])
        yield


@contextmanager
def let_the_certificate_expire(monitored: Monitored) -> Iterator[None]:
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    monitored.stack.state.write("tls/key.pem", private.decode())
    monitored.stack.state.write("tls/certificate.pem", made.public_bytes(Encoding.PEM).decode())
    monitored.souk("restart", "gateway")
    yield


@contextmanager
def alarm(monitored: Monitored) -> Iterator[None]:
    """Less disk is free than RabbitMQ wants, until there is more."""
    set_disk_limit(monitored, "900000GB")
    yield
    set_disk_limit(monitored, "50MB")


def set_disk_limit(monitored: Monitored, limit: str) -> None:
    [program] = [each for each in monitored.stack.servers["rabbitmq"].programs() if each.name == "rabbitmq"]
    command = [RABBITMQCTL, "-n", "souk@127.0.0.1", "--longnames", "set_disk_free_limit", limit]
    environment = {**os.environ, **program.environment}
    del environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)


FAULTS = {
    "orders-worker hangs (SIGSTOP)": Fault(["ProgramDown"], freeze("orders-worker"), ["restart orders-worker"]),
    "products-web hangs": Fault(["ProgramDown"], freeze("products-web"), ["restart products-web"]),
    "the gateway stops": Fault(["ProgramDown"], stop("gateway"), ["restart gateway"]),
    "payments-celery stops": Fault(["ProgramDown"], stop("payments-celery"), ["restart payments-celery"]),
    "notifications-worker stops, and a message waits": Fault(
        ["NoConsumer", "ProgramDown"], leave_a_message_waiting, ["restart notifications-worker"]
    ),
    "Redis stops": Fault(["ServerDown"], stop("redis"), ["restart redis"]),
    "PostgreSQL stops": Fault(["ServerDown"], stop("postgres"), ["restart postgres"]),
    "RabbitMQ stops": Fault(["ServerDown"], stop("rabbitmq"), ["restart rabbitmq"]),
    "Consul stops": Fault(["ServerDown"], stop("consul"), ["restart consul"]),
    "MongoDB stops": Fault(["ProgramNotReady"], stop("mongo"), ["up"]),
    "a message is given up": Fault(["DeadLetters"], give_up_a_message, ["dead replay --all"]),
    "a message has no queue": Fault(["Unrouted"], send_to_nobody),
    "a lock is held": Fault(["TimerLate"], hold_lock),
    "Redis is full": Fault(["RedisFull"], fill_redis, ["restart redis"]),
    "the certificate expires": Fault(["CertificateExpires"], let_the_certificate_expire, ["up", "restart gateway"]),
    "RabbitMQ has no disk left": Fault(["BrokerAlarm"], alarm),
}
QUICK = ("orders-worker hangs (SIGSTOP)",)


def in_runbook(command: str, alert: str) -> bool:
    """A program stands for PROGRAM."""
    file = re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower()
    verb, _, argument = command.partition(" ")
    named = (argument, *(["PROGRAM", "SERVER", f"SERVICE-{argument.rpartition('-')[2]}"] if argument else []))
    text = (RUNBOOKS / f"{file}.md").read_text()
    return any(f"./souk {verb} {name}".strip() in text for name in named)


def outcome_of(monitored: Monitored, fault: Fault) -> tuple[float, float]:
    """Seconds until its alerts fired, and from the repair until they resolved."""
    assert all(in_runbook(command, fault.alerts[0]) for command in fault.commands)
    until(monitored.is_quiet, RESOLVE_SECONDS)
    start, expected = time.monotonic(), set(fault.alerts)
    with fault.inject(monitored):
        until(lambda: monitored.inbox.open() >= expected, FIRE_SECONDS)
        fired = time.monotonic()
        for command in fault.commands:
            monitored.souk(*command.split())
    repaired = time.monotonic()
    until(monitored.is_quiet, RESOLVE_SECONDS)
    assert monitored.inbox.fired_since(start) == expected
    return fired - start, time.monotonic() - repaired


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", QUICK)
def test_a_fault_fires_its_alerts_which_its_runbook_resolves(monitored: Monitored, name: str) -> None:
    outcome_of(monitored, FAULTS[name])
    mails = urllib3.request("GET", mails_url(monitored.stack)).json()
    assert any(fired in str(mails) for fired in FAULTS[name].alerts)


def record(name: str, row: str) -> None:
    """In the table, among the faults that were tried earlier."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")} | {name: row}
    TABLE.write_text(HEAD + "".join(f"{rows[fault]}\n" for fault in FAULTS if fault in rows))


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_fires_exactly_its_alerts(monitored: Monitored, name: str) -> None:
    fault = FAULTS[name]
    fired, resolved = outcome_of(monitored, fault)
    commands = "<br>".join(f"`./souk {command}`" for command in fault.commands) or "the cause's end"
    record(name, f"| {name} | {', '.join(fault.alerts)} | {fired:.0f} | {commands} | {resolved:.0f} |")


def test_the_table_has_each_fault_with_its_alerts() -> None:
    rows = [[cell.strip() for cell in line.split("|")] for line in TABLE.read_text().splitlines()]
    found = {row[1]: row[2] for row in rows if len(row) > 3}
    assert {name: found.get(name) for name in FAULTS} == {name: ", ".join(each.alerts) for name, each in FAULTS.items()}
