"""A customer's request and all that follows from it are one trace, whatever happens on the way."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Set
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import urllib3
from sqlalchemy import create_engine, text

from chassis.base import failpoints
from launcher.stack import Stack
from tests.installation import FAILPOINTS_VARIABLE, ROOT, Person, until
from tests.otlp import Receiver, Span, edges, title, tree

SignUp = Callable[[], Person]
Sell = Callable[[int], str]

RESERVED = {
    "gateway POST orders-all > orders-web POST /orders/",
    "orders-web POST /orders/ > orders-web GET",
    "orders-web GET > products-web GET /internal/products",
    "orders-web POST /orders/ > orders-worker send stock.reserve",
    "orders-web POST /orders/ > products-worker process stock.reserve",
    "products-worker process stock.reserve > products-worker send stock.reserved",
    "products-worker process stock.reserve > orders-worker process stock.reserved",
    "orders-worker process stock.reserved > orders-worker send payment.authorize",
    "orders-worker process stock.reserved > payments-worker process payment.authorize",
    "payments-worker process payment.authorize > payments-worker send payments.advance",
    "payments-worker process payment.authorize > payments-celery process payments.advance",
    "payments-celery process payments.advance > payments-celery POST",
}

PAID = {
    *RESERVED,
    "payments-celery process payments.advance > payments-worker send payment.authorized",
    "payments-celery process payments.advance > orders-worker process payment.authorized",
    "orders-worker process payment.authorized > orders-worker send order.confirmed",
    "orders-worker process payment.authorized > orders-worker send stock.commit",
    "orders-worker process payment.authorized > orders-worker send payment.capture",
    "orders-worker process payment.authorized > products-worker process order.confirmed",
    "orders-worker process payment.authorized > notifications-worker process order.confirmed",
    "orders-worker process payment.authorized > products-worker process stock.commit",
    "orders-worker process payment.authorized > payments-worker process payment.capture",
    "products-worker process stock.commit > products-worker send stock.committed",
    "products-worker process stock.commit > orders-worker process stock.committed",
    "payments-worker process payment.capture > payments-worker send payments.advance",
    "payments-worker process payment.capture > payments-celery process payments.advance",
    "payments-celery process payments.advance > payments-worker send payment.captured",
    "payments-celery process payments.advance > orders-worker process payment.captured",
    "notifications-worker process order.confirmed > notifications-worker send notifications.deliver",
    "notifications-worker process order.confirmed > notifications-celery process notifications.deliver",
    "notifications-celery process notifications.deliver > notifications-celery smtp send",
}

DECLINED = {
    *RESERVED,
    "payments-celery process payments.advance > payments-worker send payment.declined",
    "payments-celery process payments.advance > orders-worker process payment.declined",
    "orders-worker process payment.declined > orders-worker send order.cancelled",
    "orders-worker process payment.declined > orders-worker send stock.release",
    "orders-worker process payment.declined > products-worker process stock.release",
    "orders-worker process payment.declined > notifications-worker process order.cancelled",
    "products-worker process stock.release > products-worker send stock.released",
    "products-worker process stock.release > orders-worker process stock.released",
    "notifications-worker process order.cancelled > notifications-worker send notifications.deliver",
    "notifications-worker process order.cancelled > notifications-celery process notifications.deliver",
    "notifications-celery process notifications.deliver > notifications-celery smtp send",
}

CANCELLING = "orders-web DELETE /orders/<uuid:order_id>"

CANCELLED = {
    f"gateway DELETE orders-one > {CANCELLING}",
    f"{CANCELLING} > orders-worker send order.cancelled",
    f"{CANCELLING} > orders-worker send stock.restock",
    f"{CANCELLING} > orders-worker send payment.refund",
    f"{CANCELLING} > notifications-worker process order.cancelled",
    f"{CANCELLING} > products-worker process stock.restock",
    f"{CANCELLING} > payments-worker process payment.refund",
    "products-worker process stock.restock > products-worker send stock.restocked",
    "products-worker process stock.restock > orders-worker process stock.restocked",
    "payments-worker process payment.refund > payments-worker send payments.refund",
    "payments-worker process payment.refund > payments-celery process payments.refund",
    "payments-celery process payments.refund > payments-celery POST",
    "payments-celery process payments.refund > payments-worker send payment.refunded",
    "payments-celery process payments.refund > orders-worker process payment.refunded",
    "orders-worker process payment.refunded > orders-worker send order.refunded",
    "orders-worker process payment.refunded > notifications-worker process order.refunded",
    "notifications-worker process order.cancelled > notifications-worker send notifications.deliver",
    "notifications-worker process order.cancelled > notifications-celery process notifications.deliver",
    "notifications-worker process order.refunded > notifications-worker send notifications.deliver",
    "notifications-worker process order.refunded > notifications-celery process notifications.deliver",
    "notifications-celery process notifications.deliver > notifications-celery smtp send",
}

LOOKED_UP = {"payments-celery process payments.advance > payments-celery GET"}


def place(person: Person, product_id: str, method: str = "tok_success", key: str = "") -> tuple[str, str]:
    """Ids of the order and of its trace."""
    body = {"lines": [{"product_id": product_id, "quantity": 1}], "payment_method": method}
    response = person.send("POST", "/orders/", body, **{"Idempotency-Key": key or uuid4().hex})
    assert response.status == 201, response.data
    return response.json()["id"], response.headers["X-Kong-Request-Id"]


def whole(receiver: Receiver, trace_id: str, expected: Set[str], lost: Set[str] = frozenset()) -> list[Span]:
    """The trace once all that is expected has arrived: exactly that, perhaps without `lost`, with one root and no orphan.

    A task that is delivered again, as on a busy machine, looks up what its payment has become.
    """
    titles = {each for edge in expected - lost for each in edge.split(" > ")}
    try:
        until(lambda: titles <= {title(span) for span in receiver.trace(trace_id)})
        until(lambda: expected - lost <= _edges(receiver.trace(trace_id)) <= expected | LOOKED_UP)
    except AssertionError:
        found = receiver.trace(trace_id)
        print("\n".join(tree(found)))
        assert set(edges(found)) - LOOKED_UP == expected - LOOKED_UP
        raise
    return receiver.trace(trace_id)


def _edges(spans: list[Span]) -> Set[str]:
    try:
        return set(edges(spans))
    except AssertionError:  # not all have arrived
        return frozenset()


def failures(spans: Iterable[Span], name: str) -> list[Span]:
    return [span for span in spans if title(span) == name and span.error]


def test_a_paid_order_and_its_repetition_with_the_same_key(spans: Receiver, person: SignUp, product: Sell) -> None:
    leila, kettle, key = person(), product(5), uuid4().hex
    order_id, trace_id = place(leila, kettle, key=key)
    again, repeated = place(leila, kettle, key=key)
    assert (again == order_id, repeated == trace_id) == (True, False)
    found = {title(span): span for span in whole(spans, trace_id, PAID)}
    whole(spans, repeated, {"gateway POST orders-all > orders-web POST /orders/"})
    assert not [span for span in found.values() if span.error]
    request = found["orders-web POST /orders/"]
    assert (request.kind, request.attributes) == (
        2,
        {"http.request.method": "POST", "http.route": "/orders/", "http.response.status_code": "201"},
    )
    reserve = found["products-worker process stock.reserve"]
    assert reserve.attributes["messaging.destination.name"] == "souk:stock.reserve:products"
    assert reserve.attributes["messaging.message.id"] == str(UUID(reserve.attributes["messaging.message.id"]))
    assert (reserve.kind, found["orders-worker send stock.reserve"].kind) == (5, 4)
    # Written before the response, and taken after it was sent.
    assert request.started <= found["orders-worker send stock.reserve"].started <= reserve.started


def test_a_declined_order(spans: Receiver, person: SignUp, product: Sell) -> None:
    _, trace_id = place(person(), product(5), "tok_declined_insufficient_funds")
    whole(spans, trace_id, DECLINED)


def test_a_cancelled_order(spans: Receiver, person: SignUp, product: Sell) -> None:
    leila = person()
    order_id, trace_id = place(leila, product(5))
    whole(spans, trace_id, PAID)
    response = leila.send("DELETE", f"/orders/{order_id}")
    assert response.status == 204, response.data
    whole(spans, response.headers["X-Kong-Request-Id"], CANCELLED)


def test_an_order_whose_payment_is_retried(spans: Receiver, stack: Stack, person: SignUp, product: Sell) -> None:
    leila, kettle = person(), product(5)
    stack.supervisor.stop(["bank"])
    try:
        _, trace_id = place(leila, kettle)
        until(lambda: failures(spans.trace(trace_id), "payments-celery process payments.advance"))
    finally:
        stack.supervisor.start_program("bank")
    whole(spans, trace_id, PAID | LOOKED_UP)


@pytest.mark.parametrize(
    "point",
    [
        "orders-worker: stock.reserved: committed",
        "payments-worker: payment.authorize: committed",
        "notifications-worker: order.confirmed: committed",
    ],
)
def test_an_order_whose_worker_is_killed_between_commit_and_publish(
    spans: Receiver, stack: Stack, person: SignUp, product: Sell, point: str
) -> None:
    leila, kettle = person(), product(5)
    trigger = Path(stack.installation.environment[FAILPOINTS_VARIABLE]) / failpoints.file_of(point)
    trigger.touch()
    _, trace_id = place(leila, kettle)
    until(lambda: not trigger.exists())
    # What it sent in its last half second left no span: such a span has no children.
    sent = f" > {point.partition(':')[0]} send "
    whole(spans, trace_id, PAID, lost={edge for edge in PAID if sent in edge})


def test_an_order_whose_message_was_a_dead_letter(spans: Receiver, stack: Stack, person: SignUp, product: Sell) -> None:
    leila, kettle = person(), product(5)
    engine = create_engine(stack.backing.databases["orders"].replace("postgresql://", "postgresql+psycopg2://", 1))
    rename = text("UPDATE orders SET id = :new WHERE id = :old")
    stack.supervisor.stop(["products-worker"])
    order_id, trace_id = place(leila, kettle)
    hidden = str(uuid4())
    with engine.begin() as connection:
        assert connection.execute(rename, {"new": hidden, "old": order_id}).rowcount == 1
    stack.supervisor.start_program("products-worker")
    [failed] = until(lambda: failures(spans.trace(trace_id), "orders-worker process stock.reserved"))
    assert failed.error == "dead_letter"
    with engine.begin() as connection:
        assert connection.execute(rename, {"new": order_id, "old": hidden}).rowcount == 1
    engine.dispose()
    letter = str(failed.attributes["messaging.message.id"])
    command, environment = stack.services.one_shot(
        "orders", "chassis.run.dead_letters", "services.orders", "replay", letter
    )
    until(lambda: subprocess.run(command, env=environment, cwd=ROOT, timeout=60).returncode == 0)
    found = whole(spans, trace_id, PAID)
    assert len([span for span in found if title(span) == title(failed)]) == 2


def test_a_problem_names_its_trace(spans: Receiver, stack: Stack, person: SignUp) -> None:
    leila = person()
    missing = leila.send("GET", f"/orders/{uuid4()}")
    trace_id = missing.headers["X-Kong-Request-Id"]
    assert (missing.status, missing.json()["trace_id"]) == (404, trace_id)
    whole(spans, trace_id, {"gateway GET orders-one > orders-web GET /orders/<uuid:order_id>"})
    assert f'# {{trace_id="{trace_id}"}}' in exposed(stack, "orders-web")
    logs = [stack.state.logs / f"{program}.log" for program in ("orders-web", "gateway")]
    until(lambda: all(trace_id in log.read_text() for log in logs))
    [line, *_] = [json.loads(line) for line in logs[0].read_text().splitlines() if trace_id in line]
    assert line["trace_id"] == trace_id


def test_the_exemplars_of_an_order_lead_to_its_trace(
    spans: Receiver, stack: Stack, person: SignUp, product: Sell
) -> None:
    """From requests, at the edge too, calls of another service, messages, and the promise that an order is settled soon."""
    _, trace_id = place(person(), product(5))
    whole(spans, trace_id, PAID)
    for program, series in (
        ("gateway-admin", 'kong_request_latency_ms_bucket{le="[^"]+",route="orders-all"'),
        ("orders-web", 'flask_http_request_duration_seconds_bucket{le="[^"]+",method="POST",status="201"'),
        ("orders-web", 'souk_client_call_seconds_bucket{le="[^"]+",upstream="products"'),
        ("orders-worker", 'souk_message_handling_seconds_bucket{le="[^"]+",type="payment.captured"'),
        ("orders-worker", 'souk_order_settling_seconds_bucket{le="[^"]+"'),
    ):
        assert re.search(f'{series}.*# {{trace_id="{trace_id}"}}', exposed(stack, program)), (program, series)
    mails = re.findall(
        'souk_notification_delivery_seconds_bucket.*# {trace_id="([^"]+)"}', exposed(stack, "notifications-celery")
    )
    assert mails
    until(lambda: all(spans.trace(each) for each in mails))


def exposed(stack: Stack, program: str) -> str:
    """Its metrics with exemplars."""
    url = f"http://127.0.0.1:{stack.installation.ports[program]}/metrics"
    return urllib3.request("GET", url, headers={"Accept": "application/openmetrics-text"}).data.decode()


def test_prometheus_keeps_exemplars(spans: Receiver, stack: Stack, person: SignUp) -> None:
    if not stack.has("prometheus"):
        pytest.skip("needs apt-get install prometheus")
    leila, since = person(), time.time()
    url = f"{stack.url('prometheus')}/api/v1/query_exemplars"
    query = {"query": "flask_http_request_duration_seconds_bucket", "start": since, "end": since + 600}

    def kept() -> set[str]:
        leila.call("GET", "/users/me")
        found = urllib3.request("GET", url, fields=query).json()["data"]
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    exemplars = until(kept)
    until(lambda: all(spans.trace(trace_id) for trace_id in exemplars))


def test_a_client_decides_whether_its_request_is_traced_but_not_where(
    spans: Receiver, person: SignUp, product: Sell
) -> None:
    leila, kettle, theirs = person(), product(1), uuid4().hex
    answered = {
        flag: leila.send("GET", f"/products/{kettle}", traceparent=f"00-{theirs}-{uuid4().hex[:16]}-{flag}")
        for flag in ("00", "01")
    }
    traces = {flag: response.headers["X-Kong-Request-Id"] for flag, response in answered.items()}
    whole(spans, traces["01"], {"gateway GET products-read > products-web GET /products/<uuid:product_id>"})
    # A program's spans arrive in the order in which they end.
    assert not spans.trace(traces["00"])
    assert not spans.trace(theirs)
