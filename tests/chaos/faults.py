"""Faults of a running installation, the alerts that they must fire, and the commands that repair them."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psutil
import psycopg2
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from kombu import Connection

from chassis.messaging import broker
from chassis.messaging.envelope import Envelope
from chassis.messaging.message import Message
from contracts.users import UserDeleted
from tests.chaos.monitored import Monitored

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
