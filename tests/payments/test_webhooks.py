"""Webhooks, really sent by the bank: processed once, in any order, and only if they are signed."""

import json
import threading
import time
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import urllib3
from sqlalchemy import text
from werkzeug.wsgi import get_input_stream

from chassis.base import clock
from chassis.storage import postgres
from contracts.payments import (
    CapturePayment,
    PaymentAuthorized,
    PaymentDeclined,
    PaymentVoided,
    RefundPayment,
    VoidPayment,
)
from contracts.reasons import Reason
from devservers import bank
from devservers.bank.webhooks import Endpoint, signature
from services.payments.external import Overtaken
from services.payments.models import Webhook
from services.payments.providers import ProviderUnavailable
from tests.conftest import app_of
from tests.installation import until
from tests.payments import books
from tests.payments.conftest import Bank

SECRET = "webhook-secret"
OUR_SECRET = "only-in-these-tests"
PATH = "/payments/webhooks/sandbox"


@pytest.fixture(scope="module")
def notifying_bank(_payments, serve):
    """A bank that sends its webhooks to the payments service, over HTTP both ways."""
    app, stopping = app_of(_payments), threading.Event()

    def bounded(environ, start_response):
        # Unlike ours, Werkzeug's server lets an application read past the body and block.
        environ["wsgi.input"] = get_input_stream(environ)
        return app(environ, start_response)

    endpoint = Endpoint(serve(bounded) + PATH, SECRET)
    yield Bank(serve(bank.create_app(None, "sandbox-key", stopping, webhooks=endpoint)))
    stopping.set()


@pytest.fixture
def webhook_bank(settings, notifying_bank):
    with settings(sandbox_url=notifying_bank.address, sandbox_webhook_secret=SECRET):
        yield notifying_bank


def webhooks(orders):
    """Those about this test's payment: the bank may still send those of an earlier test."""
    query = "SELECT type, due_at FROM webhooks WHERE payment_id = :payment ORDER BY received_at"
    with orders.payments.store.engine.connect() as connection:
        return connection.execute(text(query), {"payment": orders.payment_ids[0]}).all()


def wait_for_webhooks(orders, count):
    until(lambda: len(webhooks(orders)) >= count)


def decide_on_page(orders, staff, decision):
    """The customer confirms or refuses on the page at the payment's action_url."""
    payment_id = orders.payment_ids[0]
    url = staff.get(payment_id)["action_url"]
    http = urllib3.PoolManager(timeout=5)
    assert "12.50 EUR" in http.request("GET", url).data.decode()
    assert http.request("POST", url, fields={"decision": decision}, encode_multipart=False).status == 200
    assert http.request("POST", url, fields={"decision": decision}, encode_multipart=False).status == 409
    return payment_id


@pytest.mark.parametrize(("decision", "status"), [("confirm", "authorized"), ("refuse", "declined")])
def test_a_payment_confirmed_at_the_bank_continues_when_its_webhook_comes(
    orders, payments, staff, webhook_bank, decision, status
):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, "tok_pending"))
    assert orders.replies == []
    payment_id = decide_on_page(orders, staff, decision)
    wait_for_webhooks(orders, 2)
    orders.system.drain()
    seen = staff.get(payment_id)
    assert (seen["status"], seen["action_url"]) == (status, None)
    assert orders.reply_types == [f"payment.{status}"]
    assert [webhook.type for webhook in webhooks(orders)] == ["charge.pending", f"charge.{status}"]
    assert {webhook.due_at for webhook in webhooks(orders)} == {None}


def test_a_payment_whose_webhook_never_comes_continues_by_the_sweeper(orders, staff, bank, sweep):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, "tok_pending"))
    decide_on_page(orders, staff, "confirm")
    assert sweep(120) == 1
    orders.system.drain()
    assert orders.replies == [PaymentAuthorized(order_id, orders.replies[0].payment_id)]


def test_a_payment_that_is_never_confirmed_is_called_off(orders, staff, bank, sweep):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, "tok_pending"))
    sweep(120)
    orders.age(timedelta(hours=1))
    orders.system.drain()
    payment_id = orders.replies[0].payment_id
    assert orders.replies == [
        PaymentDeclined(order_id, payment_id, Reason.NOT_CONFIRMED_IN_TIME),
        PaymentVoided(order_id, payment_id),
    ]
    assert [charge["status"] for charge in bank.charges(payment_id)] == ["voided"]


def test_a_payment_that_waits_for_its_customer_can_be_called_off(orders, bank):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, "tok_pending"), VoidPayment(order_id))
    assert orders.replies == [PaymentVoided(order_id, orders.replies[0].payment_id)]
    assert [charge["status"] for charge in bank.charges(orders.replies[0].payment_id)] == ["voided"]


def test_a_webhook_makes_up_for_a_lost_response(orders, payments, webhook_bank):
    with pytest.raises(ProviderUnavailable):
        orders.send(orders.authorization(uuid4(), "tok_lost_response"))
    wait_for_webhooks(orders, 1)
    orders.system.drain()
    assert orders.reply_types == ["payment.authorized"]


@pytest.mark.parametrize(
    ("token", "types"),
    [
        ("tok_duplicate_webhook", ["charge.authorized", "charge.captured"]),
        ("tok_out_of_order_webhook", ["charge.captured", "charge.authorized"]),
    ],
)
def test_webhooks_that_come_twice_or_out_of_order_change_nothing(orders, payments, webhook_bank, token, types):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, token), CapturePayment(order_id))
    wait_for_webhooks(orders, 2)
    orders.system.drain()
    assert [webhook.type for webhook in webhooks(orders)] == types
    assert orders.reply_types == ["payment.authorized", "payment.captured"]
    assert (books.kept(payments), books.contradictions(payments)) == (1250, [])


def test_a_change_made_at_the_bank_arrives_by_webhook(orders, payments, staff, webhook_bank):
    order_id = uuid4()
    orders.send(orders.authorization(order_id, "tok_duplicate_webhook"))
    payment_id = orders.payment_ids[0]
    (charge,) = webhook_bank.charges(payment_id)
    webhook_bank.do(f"/{charge['id']}/void")
    wait_for_webhooks(orders, 2)
    orders.system.drain()
    assert staff.get(payment_id)["status"] == "voided"
    orders.send(CapturePayment(order_id))
    assert orders.reply_types == ["payment.authorized", "payment.capture_refused"]


def test_another_providers_webhook_looks_nothing_up(orders, payments, client, bank, staff, settings):
    """Each provider's secret speaks for its own charges: a leaked one must not reach the payments of another."""
    orders.send(orders.authorization(uuid4()))
    payment_id = orders.payment_ids[0]
    bank.do(f"/{bank.charges(payment_id)[0]['id']}/void")
    raw = json.dumps({"id": "evt_1", "type": "x", "data": {"object": {"metadata": {"payment_id": payment_id}}}})
    with settings(stripe_key="key", stripe_webhook_secret=OUR_SECRET):
        signed = {"Stripe-Signature": signature(OUR_SECRET, int(time.time()), raw)}
        assert client(payments).post("/payments/webhooks/stripe", data=raw, headers=signed).status_code == 200
        orders.system.drain()
    assert [webhook.due_at for webhook in webhooks(orders)] == [None]
    assert staff.get(payment_id)["status"] == "authorized"


def kept(payments):
    with payments.store.engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM webhooks"))


@pytest.fixture
def post(payments, client, settings):
    """POST a webhook, correctly signed by default, with a secret that no bank has."""

    def send(body=None, header=None, path=PATH, **changes):
        event = {"id": "evt_1", "type": "charge.captured", "data": {"reference": str(uuid4())}} | changes
        raw = json.dumps(event) if body is None else body
        signed = header or signature(OUR_SECRET, int(time.time()), raw)
        return client(payments).post(path, data=raw, headers={"Sandbox-Signature": signed})

    with settings(sandbox_webhook_secret=OUR_SECRET):
        yield send


@pytest.mark.parametrize("others", [0, 1])
def test_a_charges_id_is_looked_for_among_its_providers_payments(post, payments, orders, bank, staff, others):
    """Two providers may use the same one."""
    for _ in range(2):
        orders.send(orders.authorization(uuid4()))
    ours, other = orders.payment_ids[1 - others], orders.payment_ids[others]
    charge = bank.charges(ours)[0]["id"]
    bank.do(f"/{charge}/void")
    with payments.store.engine.begin() as connection:
        of_stripe = "provider = CASE WHEN id = :other THEN 'stripe' ELSE provider END"
        both = text(f"UPDATE payments SET provider_reference = :charge, {of_stripe}")
        connection.execute(both, {"charge": charge, "other": other})
    post(data={"id": charge})
    orders.system.drain()
    assert staff.get(ours)["status"] == "voided"


@pytest.mark.parametrize("moves", ["status", "money"])
def test_a_webhook_is_processed_again_if_its_payment_moves_during_the_lookup(
    post, payments, orders, staff, interposed, settings, moves
):
    """What the bank sent may be older than what we know."""
    order_id = uuid4()
    with settings(**interposed.settings, sandbox_webhook_secret=OUR_SECRET):
        orders.send(orders.authorization(order_id))
        payment_id = orders.payment_ids[0]
        if moves == "money":
            orders.send(CapturePayment(order_id))
        command = CapturePayment(order_id) if moves == "status" else refund_of(order_id)
        orders.deliver(command)
        task, subject = waiting_task(payments)
        post(data={"reference": payment_id})
        with payments.store.engine.connect() as connection:
            webhook_id = connection.scalar(text("SELECT id FROM webhooks"))

        def overtake(method, path, sent):
            interposed.on_response = lambda method, path, sent: sent
            payments.celery.run(task, subject)
            return sent

        interposed.on_response = overtake
        with pytest.raises(Overtaken):
            payments.celery.run("payments.process_webhook", webhook_id)
        assert webhooks(orders)[0].due_at is not None
        payments.celery.run("payments.process_webhook", webhook_id)
    assert webhooks(orders)[0].due_at is None
    assert staff.get(payment_id)["status"] == "captured"
    assert books.contradictions(payments) == []


def test_a_lookup_overtaken_by_the_customers_refusal_is_made_again(post, payments, orders, staff, interposed, settings):
    with settings(**interposed.settings, sandbox_webhook_secret=OUR_SECRET):
        orders.send(orders.authorization(uuid4(), "tok_pending"))
        payment_id = orders.payment_ids[0]

        def overtake(method, path, sent):
            interposed.on_response = lambda method, path, sent: sent
            decide_on_page(orders, staff, "refuse")
            payments.celery.run("payments.advance", UUID(payment_id))
            return sent

        interposed.on_response = overtake
        with pytest.raises(Overtaken):
            payments.celery.run("payments.look_up", UUID(payment_id))
        payments.celery.run("payments.look_up", UUID(payment_id))
    seen = staff.get(payment_id)
    assert (seen["status"], seen["action_url"]) == ("declined", None)


def refund_of(order_id):
    return RefundPayment(order_id, uuid4(), 400, "EUR", Reason.REFUNDED_BY_SHOP)


def waiting_task(payments):
    """Name and subject of the one task that was not sent yet."""
    with payments.store.engine.connect() as connection:
        [(name, subject)] = connection.execute(text("SELECT type, subject FROM outbox WHERE sent_at IS NULL"))
    return name.removeprefix("task."), UUID(subject)


def test_a_repeated_event_changes_nothing(post, payments):
    responses = [post() for _ in range(3)]
    assert [(response.status_code, response.json["is_new"]) for response in responses] == [(200, True)] + [
        (200, False)
    ] * 2
    assert kept(payments) == 1


RAW = '{"id": "evt_1", "type": "charge.captured", "data": {"reference": "x"}}'
NOW = int(time.time())


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (RAW, signature("another secret", NOW, RAW)),
        (RAW, signature(OUR_SECRET, NOW, RAW.replace("x", "y"))),
        (RAW, signature(OUR_SECRET, NOW - 86_400, RAW)),
        (RAW, signature(OUR_SECRET, NOW + 86_400, RAW)),
        (RAW, signature(OUR_SECRET, NOW, RAW).replace("v1", "v0")),
        (RAW, "t=,v1="),
        (RAW, "nonsense"),
        (RAW, f"t={NOW},t={NOW},v1=00"),
    ],
    ids=["another secret", "another body", "late", "early", "another scheme", "empty", "nonsense", "two times"],
)
def test_a_webhook_without_a_recent_signature_is_refused(post, payments, body, header):
    refused = post(body, header)
    assert (refused.status_code, refused.json["type"]) == (400, "/problems/webhook-not-signed")
    assert kept(payments) == 0


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[1",
        "null",
        "{}",
        "[" * 100_000,
        '{"id": 1, "type": null, "data": []}',
        '{"id": "", "type": "x", "data": {"reference": "x"}}',
        '{"id": "a\\u0000b", "type": "x\\u0000y", "data": {"reference": "\\u0000"}}',
        '{"id": "\\ud800", "type": "\\ud800", "data": {"reference": "\\ud800"}}',
        "a\0b",
        json.dumps({"id": "x" * 300, "type": "y" * 300, "data": {"reference": "z" * 300}}),
        json.dumps({"id": "evt_long", "type": "charge.captured", "data": {"more": "x" * 300_000}}),
        '{"id": "evt_null", "type": "v2.core.event_destination.ping", "data": null}',
    ],
    ids=range(13),
)
def test_a_signed_event_about_nothing_of_ours_is_accepted_once(post, payments, orders, body):
    responses = [post(body) for _ in range(2)]
    assert [(each.status_code, each.json["is_new"]) for each in responses] == [(200, True), (200, False)]
    orders.system.drain()
    assert kept(payments) == 1


def test_a_webhook_has_a_maximum_size_and_a_configured_provider(post, payments):
    assert post(json.dumps({"id": "x" * 700_000})).status_code == 413
    assert post(path="/payments/webhooks/unknown").status_code == 404
    assert kept(payments) == 0


def test_a_webhook_whose_task_was_lost_is_swept_and_an_old_one_purged(post, payments, orders, sweep):
    post()
    with payments.store.engine.begin() as connection:
        connection.execute(text("DELETE FROM outbox"))
    assert (sweep(10), sweep(120), sweep(130)) == (0, 1, 1)

    def left_at_the_age_of(days):
        with payments.store.transaction():
            received = {"received": clock.now() - timedelta(days=days)}
            postgres.session().execute(text("UPDATE webhooks SET received_at = :received"), received)
            Webhook.purge()
        return kept(payments)

    assert left_at_the_age_of(31) == 1, "before it is processed"
    orders.system.drain()
    assert [left_at_the_age_of(days) for days in (29, 31)] == [1, 0]
