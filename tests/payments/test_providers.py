"""One suite that every provider passes: the sandbox and Stripe, each over a real socket."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
import urllib3
from prometheus_client import REGISTRY

from chassis.base import clock
from contracts.payments import CapturePayment, RefundPayment, VoidPayment
from contracts.reasons import Reason
from devservers.bank.webhooks import signature
from services.payments import providers
from services.payments.models import RefundStatus, Status
from services.payments.providers import Gone, ProviderUnavailable, Refused
from services.payments.providers.signature import Unverified
from services.payments.settings import Settings
from tests.payments import books, stripe_api

SECRET = "webhook-secret"


@dataclass
class Party:
    """A provider under test: its settings, and its payment method for each behaviour."""

    name: str
    settings: dict
    methods: dict

    def sign(self, body, timestamp):
        if self.name == "sandbox":
            return signature(SECRET, timestamp, body)
        import stripe

        return stripe.WebhookSignature.generate_signature_header(body, SECRET, timestamp)

    def event(self, payment_id):
        data = {"reference": str(payment_id)} if self.name == "sandbox" else {"object": _stripes(payment_id)}
        return json.dumps({"id": "evt_1", "type": "something.happened", "data": data})

    def moves(self, action, charge, amount=None):
        """In the provider's dashboard, or by the customer's bank (`return` a refund, `reverse` a lost dispute)."""
        if self.name == "sandbox":
            response = urllib3.PoolManager(retries=False).request(
                "POST",
                f"{Settings.current().sandbox_url}/dashboard/{charge.reference}",
                headers=urllib3.make_headers(basic_auth="merchant:sandbox-key"),
                fields={"action": action, "amount": str(amount or "")},
                encode_multipart=False,
            )
            assert response.status == 303
        else:
            STRIPE.move(action, charge.reference, amount)

    def confirm(self, charge):
        if self.name == "sandbox":
            body = {"fields": {"decision": "confirm"}, "encode_multipart": False}
            assert urllib3.PoolManager().request("POST", charge.action_url, **body).status == 200
        else:
            STRIPE.confirm(charge.reference)


def _stripes(payment_id):
    return {"object": "payment_intent", "metadata": {"payment_id": str(payment_id)}}


STRIPE = stripe_api.StripeAPI()
SANDBOX_METHODS = {
    "success": "tok_success",
    "declined": "tok_declined_insufficient_funds",
    "pending": "tok_pending",
    "error": "tok_error",
    "lost": "tok_lost_response",
    "unknown": "tok_unknown",
    "capture_refused": "tok_capture_refused",
    "refund_refused": "tok_refund_refused",
}
STRIPE_METHODS = {
    "success": "pm_card_visa",
    "declined": "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pending": stripe_api.PENDING,
    "error": stripe_api.ERROR,
    "lost": stripe_api.LOST,
    "unknown": "pm_unknown",
    "capture_refused": stripe_api.CAPTURE_REFUSED,
    "refund_refused": stripe_api.REFUND_REFUSED,
}


@pytest.fixture(scope="module")
def stripe_address(serve):
    return serve(STRIPE.app)


@pytest.fixture(params=["sandbox", "stripe"])
def party(request, settings, bank_address, stripe_address):
    if request.param == "sandbox":
        party = Party("sandbox", {"sandbox_webhook_secret": SECRET}, SANDBOX_METHODS)
    else:
        values = {"stripe_key": stripe_api.KEY, "stripe_webhook_secret": SECRET, "stripe_url": stripe_address}
        party = Party("stripe", values, STRIPE_METHODS)
    with settings(provider=party.name, **party.settings):
        yield party


@pytest.fixture
def provider(party):
    return providers.named(party.name)


@pytest.fixture
def authorize(provider, party):
    def run(behaviour="success", payment_id=None, amount=1250, capture=False):
        return provider.authorize(payment_id or uuid4(), amount, "EUR", party.methods[behaviour], capture)

    return run


@pytest.mark.parametrize(("capture", "status"), [(False, Status.AUTHORIZED), (True, Status.CAPTURED)])
def test_a_charge_is_authorized_or_captured_and_found_with_and_without_its_reference(
    provider, authorize, capture, status
):
    payment_id = uuid4()
    charge = authorize(payment_id=payment_id, capture=capture)
    assert (charge.status, charge.decline_reason, charge.action_url) == (status, None, None)
    assert provider.find(payment_id, charge.reference) == charge
    assert provider.find(payment_id, None) == charge
    assert provider.find(uuid4(), None) is None


def test_concurrent_repeats_make_one_charge(provider, authorize):
    payment_id = uuid4()
    with ThreadPoolExecutor(5) as pool:
        charges = list(pool.map(lambda _: authorize(payment_id=payment_id), range(5)))
    assert len(set(charges)) == 1
    since, until = clock.now() - timedelta(minutes=1), clock.now() + timedelta(minutes=1)
    assert [r.payment_id for r in provider.report(since, until)].count(payment_id) == 1


def test_a_declined_charge_has_a_reason(provider, authorize):
    payment_id = uuid4()
    charge = authorize("declined", payment_id)
    assert (charge.status, charge.decline_reason) == (Status.DECLINED, "insufficient_funds")
    assert authorize("declined", payment_id) == charge
    assert provider.find(payment_id, None) == charge


@pytest.mark.parametrize(
    ("behaviour", "amount", "reason"),
    [("unknown", 1250, "invalid_payment_method"), ("success", 100_000_000, "invalid_amount")],
)
def test_an_invalid_charge_is_refused_with_its_field(authorize, behaviour, amount, reason):
    with pytest.raises(Refused, match=f"^{reason}$"):
        authorize(behaviour, amount=amount)


def test_a_customer_confirms_a_pending_charge_on_the_providers_page(provider, party, authorize):
    payment_id = uuid4()
    charge = authorize("pending", payment_id)
    assert (charge.status, charge.action_url.startswith("http")) == (Status.PENDING, True)
    party.confirm(charge)
    assert provider.find(payment_id, charge.reference).status == Status.AUTHORIZED


def test_a_pending_charge_can_be_voided(provider, authorize):
    payment_id = uuid4()
    assert provider.void(payment_id, authorize("pending", payment_id).reference).status == Status.VOIDED


def test_a_captured_charge_cannot_be_voided(provider, authorize):
    payment_id = uuid4()
    charge = authorize(payment_id=payment_id)
    assert provider.capture(payment_id, charge.reference).status == Status.CAPTURED
    with pytest.raises(Refused):
        provider.void(payment_id, charge.reference)
    assert provider.find(payment_id, charge.reference).status == Status.CAPTURED


def test_a_voided_charge_cannot_be_captured(provider, authorize):
    payment_id = uuid4()
    charge = authorize(payment_id=payment_id)
    assert provider.void(payment_id, charge.reference).status == Status.VOIDED
    with pytest.raises(Refused):
        provider.capture(payment_id, charge.reference)


def test_partial_refunds_happen_once_each_and_never_exceed_the_capture(provider, authorize):
    payment_id, first, second = uuid4(), uuid4(), uuid4()
    reference = authorize(payment_id=payment_id, capture=True).reference
    made = provider.refund(first, payment_id, reference, 1000)
    assert made.status == RefundStatus.REFUNDED
    assert provider.refund(first, payment_id, reference, 1000) == made
    assert provider.find_refund(first, reference) == made
    with pytest.raises(Refused):
        provider.refund(second, payment_id, reference, 251)
    assert provider.find_refund(second, reference) is None


def test_after_a_lost_response_the_charge_is_found(provider, authorize):
    payment_id = uuid4()
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            authorize("lost", payment_id)
    assert provider.find(payment_id, None).status == Status.AUTHORIZED


def test_after_an_error_there_is_no_charge(provider, authorize):
    payment_id = uuid4()
    with pytest.raises(ProviderUnavailable):
        authorize("error", payment_id)
    assert provider.find(payment_id, None) is None


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://localhost:1"])
def test_an_unreachable_provider_is_unavailable(party, settings, address):
    unreachable = party.settings | {f"{party.name}_url": address}
    with settings(provider=party.name, **unreachable):
        provider = providers.named(party.name)
        for call in (
            lambda: provider.authorize(uuid4(), 1, "EUR", party.methods["success"], False),
            lambda: provider.capture(uuid4(), "x"),
            lambda: provider.find(uuid4(), None),
            lambda: provider.refund(uuid4(), uuid4(), "x", 1),
            lambda: provider.find_refund(uuid4(), "x"),
            lambda: list(provider.report(clock.now(), clock.now())),
        ):
            with pytest.raises(ProviderUnavailable):
                call()


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"id": 1}', b'{"id": "x", "status": "perhaps"}'])
def test_a_provider_with_invalid_responses_is_unavailable(party, settings, serve, body):
    def nonsense(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json")])
        return [body]

    with settings(provider=party.name, **party.settings | {f"{party.name}_url": serve(nonsense)}):
        provider = providers.named(party.name)
        with pytest.raises(ProviderUnavailable):
            provider.authorize(uuid4(), 1, "EUR", party.methods["success"], False)
        with pytest.raises(ProviderUnavailable):
            provider.find(uuid4(), "x")


def test_a_provider_that_refuses_the_key_is_unavailable(party, settings):
    with (
        settings(provider=party.name, **party.settings | {f"{party.name}_key": "wrong"}),
        pytest.raises(ProviderUnavailable),
    ):
        providers.named(party.name).find(uuid4(), None)


def test_the_report_lists_what_every_charge_holds_and_took_and_what_left_it(provider, party, authorize):
    since = clock.now() - timedelta(seconds=5)
    ids = [uuid4() for _ in range(4)]
    held, taken, voided, returned = (authorize(payment_id=i, capture=n in (1, 3)) for n, i in enumerate(ids))
    provider.void(ids[2], voided.reference)
    provider.refund(uuid4(), ids[3], returned.reference, 250)
    party.moves("dispute", returned, 1000)
    report = {r.payment_id: r for r in provider.report(since, clock.now() + timedelta(seconds=5))}
    amounts = [(report[i].held, report[i].captured, report[i].gone, report[i].currency) for i in ids]
    gone = [(1250, 0, Gone()), (0, 1250, Gone()), (0, 0, Gone()), (0, 1250, Gone(refunded=250, disputed=1000))]
    assert amounts == [(*each, "EUR") for each in gone]
    assert [report[i].reference for i in ids] == [c.reference for c in (held, taken, voided, returned)]
    assert list(provider.report(since - timedelta(days=2), since - timedelta(days=1))) == []


@pytest.mark.parametrize(
    ("actions", "captured", "gone"),
    [
        ([("capture", 400)], 400, Gone()),
        ([("capture", None), ("refund", 250)], 1250, Gone(refunded=250)),
        ([("capture", None), ("refund", 250), ("refund", 300), ("return", None)], 1250, Gone(refunded=250)),
        ([("capture", None), ("dispute", 1000)], 1250, Gone(disputed=1000)),
        ([("capture", None), ("dispute", 1000), ("win", None)], 1250, Gone()),
        ([("capture", None), ("refund", 250), ("dispute", 1000), ("lose", None)], 1250, Gone(250, 0, 1000)),
        ([("capture", None), ("dispute", 1000), ("lose", None), ("reverse", None)], 1250, Gone()),
    ],
)
def test_a_charge_carries_what_was_captured_refunded_and_disputed_elsewhere(
    provider, party, authorize, actions, captured, gone
):
    payment_id = uuid4()
    charge = authorize(payment_id=payment_id)
    for action, amount in actions:
        party.moves(action, charge, amount)
    for reference in (charge.reference, None):
        found = provider.find(payment_id, reference)
        assert (found.status, found.captured, found.gone) == (Status.CAPTURED, captured, gone)


def test_a_refund_that_failed_after_it_had_succeeded_is_found_as_refused(provider, party, authorize):
    payment_id, refund_id = uuid4(), uuid4()
    charge = authorize(payment_id=payment_id, capture=True)
    provider.refund(refund_id, payment_id, charge.reference, 250)
    party.moves("return", charge)
    assert provider.find_refund(refund_id, charge.reference).status == RefundStatus.REFUSED


@pytest.mark.parametrize(
    "type_", ["charge.refunded", "refund.created", "charge.dispute.created", "charge.dispute.closed"]
)
@pytest.mark.parametrize("named_by", ["payment_intent", "charge"])
def test_an_event_of_stripe_without_our_metadata_finds_its_payment(
    orders, payments, settings, stripe_address, client, type_, named_by
):
    order_id = uuid4()
    values = {"stripe_key": stripe_api.KEY, "stripe_webhook_secret": SECRET, "stripe_url": stripe_address}
    with settings(provider="stripe", **values):
        orders.send(orders.authorization(order_id, "pm_card_visa"), CapturePayment(order_id))
        intent = list(STRIPE.intents.values())[-1]
        is_dispute = "dispute" in type_
        STRIPE.move("dispute" if is_dispute else "refund", intent["id"], 250)
        _webhook(
            client(payments), {"charge": intent["latest_charge"]["id"], "payment_intent": intent["id"]}, type_, named_by
        )
        orders.system.drain()
    moved = orders.replies[-1]
    assert (moved.refunded, moved.disputed) == ((0, 250) if is_dispute else (250, 0))


@pytest.mark.parametrize("charge", ["ours", "ch_of_another_account"])
def test_an_early_fraud_warning_of_stripe_is_counted(orders, payments, settings, stripe_address, client, charge):
    order_id = uuid4()
    values = {"stripe_key": stripe_api.KEY, "stripe_webhook_secret": SECRET, "stripe_url": stripe_address}
    before = REGISTRY.get_sample_value("souk_payments_fraud_warnings_total")
    with settings(provider="stripe", **values):
        orders.send(orders.authorization(order_id, "pm_card_visa"))
        ours = list(STRIPE.intents.values())[-1]["latest_charge"]["id"]
        named = {"charge": ours if charge == "ours" else charge}
        _webhook(client(payments), named, "radar.early_fraud_warning.created", "charge")
        orders.system.drain()
    counted = REGISTRY.get_sample_value("souk_payments_fraud_warnings_total")
    assert counted - before == (1 if charge == "ours" else 0)


def test_an_event_of_stripe_about_a_payment_at_another_provider_counts_nothing(orders, payments, settings, client):
    values = {"stripe_key": stripe_api.KEY, "stripe_webhook_secret": SECRET}
    orders.send(orders.authorization(uuid4()))
    before = REGISTRY.get_sample_value("souk_payments_fraud_warnings_total")
    with settings(**values):
        names = {"metadata": {"payment_id": orders.payment_ids[0]}}
        _webhook(client(payments), names, "radar.early_fraud_warning.created", "metadata")
        orders.system.drain()
    assert REGISTRY.get_sample_value("souk_payments_fraud_warnings_total") == before


def _webhook(client, names, type_, named_by):
    """Stripe sends an event about a charge, named by one of `names`."""
    subject = {"object": "something", named_by: names[named_by]}
    body = json.dumps({"id": f"evt_{uuid4()}", "type": type_, "data": {"object": subject}})
    signed = Party("stripe", {}, {}).sign(body, int(time.time()))
    response = client.post("/payments/webhooks/stripe", data=body, headers={"Stripe-Signature": signed})
    assert response.status_code == 200, response.text


def test_an_event_needs_a_recent_signature(provider, party):
    payment_id, now = uuid4(), int(time.time())
    body = party.event(payment_id)
    event = provider.event(body.encode(), party.sign(body, now))
    assert (event.id, event.type, event.payment_id) == ("evt_1", "something.happened", payment_id)
    for raw, signed in (
        (body, party.sign(body, now - 600)),
        (body, party.sign(body, now + 600)),
        (body + " ", party.sign(body, now)),
        (body, party.sign(body, now)[:-1] + "g"),
        (body, ""),
    ):
        with pytest.raises(Unverified):
            provider.event(raw.encode(), signed)
    with pytest.raises(Unverified):
        provider.event(b"\xff", party.sign(body, now))


@pytest.mark.parametrize("seconds", [-290, 290])
def test_clocks_may_differ_by_the_tolerance(provider, party, seconds):
    body = party.event(uuid4())
    assert provider.event(body.encode(), party.sign(body, int(time.time()) + seconds)).id == "evt_1"


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "{",
        '{"id": "evt_1", "type": "x", "data": null}',
        '{"id": "evt_1", "type": "x", "data": {"object": null}}',
        '{"id": "evt_1", "type": "x", "data": {"object": {"metadata": null}}}',
        '{"id": "evt_1", "type": "v2.x", "related_object": {"id": "x"}}',
    ],
)
def test_a_signed_event_about_nothing_of_ours_is_parsed(provider, party, body):
    event = provider.event(body.encode(), party.sign(body, int(time.time())))
    assert event.id
    assert event.payment_id is None


def test_without_a_secret_every_event_is_refused(party, settings):
    with settings(provider=party.name, **party.settings | {f"{party.name}_webhook_secret": ""}):
        body = party.event(uuid4())
        with pytest.raises(Unverified):
            providers.named(party.name).event(body.encode(), party.sign(body, int(time.time())))


@pytest.mark.parametrize(
    ("behaviour", "replies"),
    [
        ("success", ["authorized", "captured", "refunded", "voided"]),
        ("declined", ["declined", "capture_refused", "refund_refused", "voided"]),
        ("capture_refused", ["authorized", "capture_refused", "voided", "refund_refused", "voided"]),
        ("refund_refused", ["authorized", "captured", "refund_refused"]),
    ],
)
def test_an_order_is_paid_refunded_and_voided_with_every_provider(orders, payments, party, behaviour, replies):
    order_id = uuid4()
    command = orders.authorization(order_id, party.methods[behaviour])
    orders.send(
        command,
        CapturePayment(order_id),
        RefundPayment(order_id, uuid4(), 250, "EUR", Reason.REFUNDED_BY_SHOP),
        VoidPayment(order_id),
    )
    assert orders.reply_types == [f"payment.{reply}" for reply in replies]
    assert books.contradictions(payments) == []
    assert books.kept(payments) == (1250 if behaviour == "refund_refused" else 0)


def test_a_pending_refund_at_stripe_ends_when_stripe_ends_it(orders, payments, settings, stripe_address, sweep):
    order_id = uuid4()
    with settings(provider="stripe", stripe_key=stripe_api.KEY, stripe_url=stripe_address):
        orders.send(orders.authorization(order_id, stripe_api.REFUND_PENDING), CapturePayment(order_id))
        orders.send(RefundPayment(order_id, uuid4(), 250, "EUR", Reason.REFUNDED_BY_SHOP))
        assert orders.reply_types[2:] == []
        list(STRIPE.refunds.values())[-1]["status"] = "succeeded"
        sweep(120)
        orders.system.drain()
    assert orders.reply_types[2:] == ["payment.refunded"]


def test_without_a_key_stripe_is_not_configured(payments):
    with pytest.raises(KeyError):
        providers.named("stripe")
