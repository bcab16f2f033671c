"""The logs of a running installation answer what became of a request and of an order."""

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from chassis.messaging import broker
from chassis.messaging.dead_letters import DeadLetterQueue
from chassis.messaging.publisher import Publisher
from launcher.stack import Stack
from tests.installation import ROOT, Person, until


def souk(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**stack.installation.environment, "SOUK_STATE_DIR": str(stack.state.path)}
    command = [sys.executable, "-m", "launcher", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def told(stack: Stack, *arguments: str) -> list[dict[str, Any]]:
    outcome = souk(stack, *arguments, "--json")
    assert outcome.returncode == 0, outcome.stderr
    return [json.loads(line) for line in outcome.stdout.splitlines()]


PROGRAMS = {
    "gateway": "request",
    "orders-web": "request",
    "products-web": "request",
    "products-worker": "message",
    "payments-worker": "message",
    "payments-celery": "task",
    "orders-worker": "message",
    "notifications-worker": "message",
    "notifications-celery": "task",
}
"""What each program that takes part in an order logs about it."""


def test_an_order_is_told_by_the_log_of_every_program(
    stack: Stack, person: Callable[[], Person], product: Callable[[int], str]
) -> None:
    leila, request = person(), str(uuid4())
    lines = [{"product_id": product(5), "quantity": 1}]
    headers = {"Idempotency-Key": uuid4().hex, "X-Correlation-ID": request}
    order = leila.call("POST", "/orders/", {"lines": lines, "payment_method": "tok_success"}, **headers)["id"]
    other = leila.settled(leila.order(product(5))["id"])["id"]

    def found() -> list[dict[str, Any]]:
        entries = told(stack, "logs", "--trace", request)
        is_whole = set(PROGRAMS.items()) <= {(entry["program"], entry["event"]) for entry in entries}
        mails = [entry for entry in entries if entry["event"] == "delivery attempted"]
        return entries if is_whole and mails else []

    entries = until(found)
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    assert all(entry["correlation_id"] == request for entry in entries if entry["program"] in PROGRAMS)
    handled = {entry["type"]: entry for entry in entries if entry["event"] == "message"}
    assert {"stock.reserve", "stock.reserved", "payment.authorize", "payment.authorized", "order.confirmed"} <= set(
        handled
    )
    assert {entry["order_id"] for entry in handled.values()} == {order}

    by_order = told(stack, "logs", "--order", order)
    assert {entry["program"] for entry in by_order} >= set(PROGRAMS)
    story = told(stack, "trace", order[:8])
    assert "order.placed" in [entry["event"] for entry in story if entry["program"] == "order"]
    assert len(story) > len(by_order)
    assert not [entry for entry in (*entries, *by_order, *story) if other in json.dumps(entry)]
    assert told(stack, "trace", handled["stock.reserve"]["trace_id"])


def test_the_logs_of_all_programs_are_one(stack: Stack) -> None:
    entries = told(stack, "logs", "-n", "1000000")
    assert {entry["program"] for entry in entries} > {"gateway", "postgres", "rabbitmq", "orders-web"}
    assert [entry["time"] for entry in entries] == sorted(entry["time"] for entry in entries)
    chosen = told(stack, "logs", "orders", "gateway", "-n", "40", "--level", "info", "--since", "1h")
    assert {entry["program"] for entry in chosen} <= {
        "gateway",
        *(f"orders-{role}" for role in ("web", "worker", "sidecar")),
    }
    outcome = souk(stack, "logs", "orders", "-n", "3")
    assert (len(outcome.stdout.splitlines()), outcome.stderr) == (3, "")


def test_an_unknown_program_id_and_order_are_named(stack: Stack) -> None:
    unknown = str(uuid4())
    for arguments, sentence in (
        (("logs", "nothing"), "Unknown program nothing. Choose from: "),
        (("logs", "--trace", "abc"), "abc is not an id"),
        (("trace", unknown), f"Nothing is known of {unknown}"),
    ):
        outcome = souk(stack, *arguments)
        assert (outcome.returncode, outcome.stdout) == (1, "")
        assert sentence in outcome.stderr


def test_dead_letters_are_counted_and_listed_in_pages(stack: Stack) -> None:
    publisher = Publisher(stack.backing.broker)
    queue = broker.dead_letter_queue("orders")
    before = DeadLetterQueue(stack.backing.broker, queue.name, None).count()
    bodies = [f"page {number}".encode() for number in range(5)]
    for body in bodies:
        publisher.send_to(queue, body, {})
    publisher.close()
    first = souk(stack, "dead", "list", "orders", "--size", "2")
    assert f"{before + 5}  orders.dead" in first.stdout
    pages = math.ceil((before + 5) / 2)
    assert f"Page 1 of {pages}; next: --page 2" in first.stdout
    last = souk(stack, "dead", "list", "orders", "--size", "2", "--page", str(pages))
    assert f"Page {pages} of {pages}\n" in last.stdout
    ids = [hashlib.sha256(body).hexdigest()[:16] for body in bodies]
    [letter] = [line for line in last.stdout.splitlines() if line.startswith(ids[-1])]
    assert "  orders.dead  unknown" in letter, "each is one line, also in a pipe"
    assert ids[0] not in last.stdout
    with broker.connect(stack.backing.broker) as connection:
        ours = queue(connection.default_channel)
        for message in list(iter(ours.get, None)):
            message.ack() if broker.body_of(message).startswith(b"page") else message.requeue()
