"""SMS: to the development mailbox or to Twilio, and never twice because a response was lost."""

from uuid import uuid4

import pytest

from chassis.run.testing import bearer
from services.notifications.channels.sandbox import mailbox_address
from services.notifications.models import Attempt
from tests.chassis.faulty import faulty
from tests.notifications.conftest import AMAL, confirmed, registered
from tests.notifications.parties import TwilioStandIn
from tests.ports import free_port

PHONE = "+4915112345678"


@pytest.fixture
def reachable(client, notifications, desk):
    """Amal has a phone and wants SMS of confirmed orders."""
    desk.handle(registered())
    body = {"phone": PHONE, "channels": {"order.confirmed": {"sms": True}}}
    url, headers = f"/notifications/{AMAL}/preferences", bearer(notifications, AMAL)
    assert client(notifications).put(url, json=body, headers=headers).status_code == 200


@pytest.fixture
def twilio(serve, settings):
    stand_in = TwilioStandIn()
    settings(sms_url=stand_in.url(serve(stand_in.app())))
    return stand_in


def sms(desk):
    [row] = [row for row in desk.notifications() if row.channel == "sms"]
    return row


def log(desk, row):
    with desk.transaction():
        return [(each.provider, each.outcome, each.reference) for each in Attempt.of(row.id)]


@pytest.mark.usefixtures("reachable")
def test_in_development_an_sms_is_seen_in_the_mailbox(desk, mailbox):
    order = confirmed()
    desk.handle(order)
    [letter] = mailbox.letters(mailbox_address(PHONE))
    assert letter.text.strip() == f"Your order {str(order.order_id)[:8]} for €102.50 is confirmed."
    assert (sms(desk).status, sms(desk).recipient) == ("sent", PHONE)


@pytest.mark.usefixtures("reachable")
def test_twilio_gets_the_message_and_its_id_is_kept(desk, twilio):
    desk.handle(confirmed())
    [message] = twilio.messages
    assert (message["to"], message["from"]) == (PHONE, "+15005550006")
    assert message["body"] == sms(desk).text
    assert sms(desk).status == "sent"
    assert log(desk, sms(desk)) == [(f"twilio {twilio.account}", "sent", message["sid"])]


@pytest.mark.usefixtures("reachable")
def test_an_sms_to_a_number_that_twilio_refuses_fails(desk, twilio):
    twilio.mode = "refuse"
    desk.handle(confirmed())
    assert (sms(desk).status, sms(desk).attempts) == ("failed", 1)
    assert "21211" in sms(desk).error


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize(("mode", "times"), [("lost", 1), ("broken", 1)])
def test_after_a_lost_response_twilio_is_searched_before_resending(desk, twilio, mode, times):
    twilio.mode = mode
    desk.fail(confirmed())
    row = sms(desk)
    assert (row.status, row.pinned_to) == ("pending", f"twilio {twilio.account}")
    twilio.mode = "ok"
    desk.deliver(row.id)
    assert (len(twilio.messages), twilio.searches) == (times, 1)
    assert sms(desk).status == "sent"


@pytest.mark.usefixtures("reachable")
def test_the_second_account_gets_what_the_first_did_not_take(desk, serve, settings, twilio):
    second = TwilioStandIn(account="AC00000000000000000000000000000002")
    settings(sms_fallback_url=second.url(serve(second.app())))
    twilio.mode = "busy"
    desk.handle(confirmed())
    assert (len(twilio.messages), len(second.messages)) == (0, 1)
    tried = [(provider, outcome) for provider, outcome, _ in log(desk, sms(desk))]
    assert tried == [(f"twilio {twilio.account}", "not taken"), (f"twilio {second.account}", "sent")]


@pytest.mark.usefixtures("reachable")
def test_the_second_account_never_gets_what_the_first_may_have_taken(desk, serve, settings, twilio):
    second = TwilioStandIn(account="AC00000000000000000000000000000002")
    settings(sms_fallback_url=second.url(serve(second.app())))
    twilio.mode = "lost"
    desk.fail(confirmed())
    twilio.mode = "busy"
    desk.deliver(sms(desk).id)
    assert (len(twilio.messages), len(second.messages)) == (1, 0)
    assert sms(desk).status == "sent"


def not_json(first):
    first.status, first.body = 201, b"<html>"


def of_another_shape(first):
    first.status, first.body = 201, b'["queued"]'


def proxy_error(first):
    first.status, first.body = 502, b"<html>Bad Gateway</html>"


def slow(first):
    first.hangs = True


def disconnecting(first):
    first.hangs_up = True


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("fails", [slow, disconnecting, proxy_error, not_json, of_another_shape])
def test_without_a_clear_response_the_sms_stays_with_its_account(desk, serve, settings, twilio, fails):
    second = TwilioStandIn(account="AC00000000000000000000000000000002")
    settings(sms_fallback_url=second.url(serve(second.app())), provider_timeout_seconds=0.3)
    with faulty() as first:
        fails(first)
        settings(sms_url=twilio.url(first.url))
        desk.fail(confirmed())
        assert (sms(desk).status, sms(desk).pinned_to) == ("pending", f"twilio {twilio.account}")
    settings(sms_url=twilio.url(serve(twilio.app())))
    desk.deliver(sms(desk).id)
    assert (len(twilio.messages), len(second.messages), twilio.searches) == (1, 0, 1)


@pytest.mark.usefixtures("reachable")
def test_the_second_account_sends_while_the_first_cannot_be_reached(desk, serve, settings, twilio):
    second = TwilioStandIn(account="AC00000000000000000000000000000002")
    settings(sms_url=twilio.url(f"http://127.0.0.1:{free_port()}"), sms_fallback_url=second.url(serve(second.app())))
    desk.handle(confirmed())
    assert (len(second.messages), sms(desk).status) == (1, "sent")


@pytest.mark.usefixtures("reachable")
def test_an_sms_waits_while_our_credentials_are_wrong(desk, settings, serve, twilio, capsys):
    wrong = TwilioStandIn(token="not-the-secret")
    settings(sms_url=wrong.url(serve(twilio.app())))
    desk.fail(confirmed())
    assert sms(desk).status == "pending"
    shown = "".join(capsys.readouterr()) + str(log(desk, sms(desk))) + str(sms(desk).error)
    assert [secret for secret in ("not-the-secret", PHONE) if secret in shown] == []


def test_staff_can_send_an_sms_only_to_a_user_with_a_phone_number(desk, client, notifications, twilio):
    desk.handle(registered())
    http = client(notifications)

    def write(text="Your teapot is ready."):
        headers = bearer(notifications, uuid4(), "staff") | {"Idempotency-Key": uuid4().hex}
        return http.post("/notifications/sms", json={"user_id": str(AMAL), "text": text}, headers=headers)

    assert write().status_code == 409
    owner = bearer(notifications, AMAL)
    http.put(f"/notifications/{AMAL}/preferences", json={"phone": PHONE}, headers=owner)
    response = write()
    assert (response.status_code, response.json["recipient"]) == (202, PHONE)
    desk.system.drain()
    assert [message["body"] for message in twilio.messages] == ["Your teapot is ready."]
    assert write("x" * 301).status_code == 422
    customer = http.post("/notifications/sms", json={}, headers=owner | {"Idempotency-Key": "1"})
    assert customer.status_code == 403
