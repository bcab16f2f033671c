"""Faults of a running installation, the alerts that they must fire, and the commands that repair them."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import psutil
import psycopg2
import redis
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kombu import Connection

from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from contracts.users import UserDeleted
from launcher.servers.consul import Consul
from tests.chaos.monitored import RESOLVE_SECONDS, Monitored
from tests.installation import catalogue_of, new_person, until

FULL_QUEUE = 1_200
"""More than one may hold."""

LOCK_SECONDS, ARRIVING = 2, 40
"""So many messages arrive during each lock, after which the worker handles one batch."""

LATE_SECONDS = 3
"""More than callers wait."""

CALLS = 3

RABBITMQCTL = "/usr/lib/rabbitmq/bin/rabbitmqctl"


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
    with Connection(monitored.stack.url("rabbitmq")) as connection:
        publish(connection, message, exchange, key)


def publish(connection: Connection, message: Message, exchange: str, key: str) -> None:
    body = Envelope.of(message, "users").to_json()
    connection.Producer().publish(body, exchange=exchange, routing_key=key, delivery_mode=2)


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
    connection = psycopg2.connect(database_url(monitored, "orders"))
    connection.cursor().execute("LOCK TABLE orders")
    yield
    connection.close()


def database_url(monitored: Monitored, name: str) -> str:
    return f"{monitored.stack.url('postgres').rpartition('/')[0]}/{name}"


@contextmanager
def fill_a_queue(monitored: Monitored) -> Iterator[None]:
    """Something locks what the worker writes, again and again: it runs, but slower than messages arrive."""
    ended = threading.Event()

    def fill() -> None:
        url = database_url(monitored, "notifications")
        with closing(psycopg2.connect(url)) as database, Connection(monitored.stack.url("rabbitmq")) as connection:
            count = FULL_QUEUE
            while not ended.is_set():
                with database, database.cursor() as cursor:
                    cursor.execute("LOCK TABLE inbox")
                    for _ in range(count):
                        publish(connection, UserDeleted(uuid4()), "", "notifications")
                    ended.wait(LOCK_SECONDS)
                count = ARRIVING

    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill)
        try:
            yield
        finally:
            ended.set()
        filling.result()


@contextmanager
def leave_a_refund_unanswered(monitored: Monitored) -> Iterator[None]:
    """The provider takes the request, and hangs."""
    person = new_person(monitored.stack)()
    order_id = person.order(catalogue_of(monitored.stack)(1))["id"]

    def happened(event: str) -> bool:
        return event in str(person.call("GET", f"/orders/{order_id}/events"))

    until(lambda: happened("payment.captured"))
    with freeze("bank")(monitored):
        person.call("DELETE", f"/orders/{order_id}")
        yield
    until(lambda: happened("payment.refunded"), RESOLVE_SECONDS)


@contextmanager
def slow_down_products(monitored: Monitored) -> Iterator[None]:
    """Whoever calls it meets a network slower than callers wait, until it registers itself again."""
    person = new_person(monitored.stack)()

    def call() -> int:
        return person.try_order(str(uuid4()), uuid4().hex).status

    with too_slow() as port:
        redirect(monitored, "products-web", port)
        until(lambda: [call() for _ in range(CALLS)] == [503] * CALLS)
        yield
    # Without calls the breaker would stay open.
    until(lambda: call() < 500)


@contextmanager
def too_slow() -> Iterator[int]:
    """The port of a server that takes LATE_SECONDS for a response."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ended.wait(LATE_SECONDS)
            with suppress(OSError):
                self.send_response(200)
                self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Not into the test's output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


def redirect(monitored: Monitored, instance: str, port: int) -> None:
    """In Consul's catalogue."""
    consul = monitored.stack.servers["consul"]
    assert isinstance(consul, Consul)
    agent, headers = f"{consul.own_url()}/v1/agent", {"X-Consul-Token": consul.management_token}
    entry = urllib3.request("GET", f"{agent}/services", headers=headers).json()[instance]
    kept = {name: entry[name] for name in ("ID", "Address", "Tags", "Meta")}
    changed = {**kept, "Name": entry["Service"], "Port": port}
    response = urllib3.request("PUT", f"{agent}/service/register", json=changed, headers=headers)
    assert response.status == 200, response.data


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
    "the provider never answers": Fault(["PaymentsOverdue"], leave_a_refund_unanswered, ["restart bank"]),
    "a queue fills, as its worker waits for locks": Fault(["QueueGrows"], fill_a_queue),
    "products-web is slow": Fault(["BreakerOpen"], slow_down_products, ["restart products"]),
}
