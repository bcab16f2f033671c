"""Unsubscribing by a mail's link: one click, no login, only the recipient's mails."""

import re
from uuid import uuid4

import pytest
from itsdangerous import URLSafeSerializer

from chassis.run.testing import bearer
from contracts.users import UserPreferencesUpdated
from tests.notifications.conftest import ADDRESS, AMAL, confirmed, registered, shipped

CONSENT = UserPreferencesUpdated(AMAL, "en", "UTC", "EUR", marketing_consent=True)


@pytest.fixture
def http(client, notifications):
    return client(notifications)


def link_of(letter):
    """The path of the List-Unsubscribe header."""
    headers = dict(letter.headers)
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    [url] = re.fullmatch(r"<http://127\.0\.0\.1:8000(/[^>]+)>", headers["List-Unsubscribe"]).groups()
    return url


def test_one_click_unsubscribes_from_these_mails_only(desk, http, mailbox):
    desk.handle(registered(), shipped())
    [letter] = mailbox.letters(ADDRESS)
    link = link_of(letter)
    assert link in letter.text
    assert link in letter.html
    for _ in range(2):
        response = http.post(link, data={"List-Unsubscribe": "One-Click"})
        assert (response.status_code, response.mimetype) == (200, "text/html")
    mailbox.empty()
    desk.handle(shipped(), confirmed())
    assert [letter.summary.subject[-9:] for letter in mailbox.letters()] == ["confirmed"]


def test_opening_the_page_changes_nothing(desk, http, mailbox):
    desk.handle(registered(), shipped())
    [letter] = mailbox.letters()
    page = http.get(link_of(letter))
    assert page.status_code == 200
    assert '<form method="post">' in page.text
    desk.handle(shipped())
    assert len(mailbox.letters()) == 2


def test_the_page_is_in_the_readers_language(desk, http, mailbox):
    desk.handle(registered(), UserPreferencesUpdated(AMAL, "de", "UTC", "EUR", marketing_consent=False), shipped())
    [letter] = mailbox.letters()
    assert "Möchtest du diese E-Mails nicht mehr erhalten?" in http.get(link_of(letter)).text


@pytest.mark.parametrize("token", ["x", "WyJhIl0.forged", "a.b.c"])
def test_a_forged_link_unsubscribes_nobody(http, token):
    for send in (http.get, http.post):
        assert send(f"/notifications/unsubscribe/{token}").status_code == 404


@pytest.mark.parametrize(("key", "salt"), [("another key", "unsubscribe"), ("a key for links", "another purpose")])
def test_a_well_formed_link_that_is_not_signed_for_this_unsubscribes_nobody(desk, http, mailbox, key, salt):
    desk.handle(registered())
    token = URLSafeSerializer(key, salt=salt).dumps([str(AMAL), "order.shipped"])
    for send in (http.get, http.post):
        assert send(f"/notifications/unsubscribe/{token}").status_code == 404
    desk.handle(shipped())
    assert len(mailbox.letters(ADDRESS)) == 1


def test_mandatory_mails_have_no_unsubscribe_link(desk, mailbox):
    desk.handle(registered(), confirmed())
    [letter] = mailbox.letters()
    assert "List-Unsubscribe" not in dict(letter.headers)
    assert "/unsubscribe/" not in letter.text


@pytest.fixture
def send(http, notifications):
    def post(kind="marketing.news", **body):
        headers = bearer(notifications, uuid4(), "staff") | {"Idempotency-Key": uuid4().hex}
        mail = {"user_id": str(AMAL), "kind": kind, "title": "Teapots", "body": "They are here."}
        return http.post("/notifications/send", json=mail | body, headers=headers)

    return post


def test_marketing_is_sent_only_with_consent_and_until_unsubscribed(desk, http, send, mailbox):
    desk.handle(registered())
    [item] = send().json["items"]
    assert (item["status"], item["reason"]) == ("suppressed", "no consent to marketing")
    desk.handle(CONSENT)
    assert [item["status"] for item in send().json["items"]] == ["pending"]
    desk.system.drain()
    [letter] = mailbox.letters()
    http.post(link_of(letter))
    [item] = send().json["items"]
    assert (item["status"], item["reason"]) == ("suppressed", "turned off")


def test_marketing_over_the_hourly_cap_is_dropped(desk, send, settings, mailbox):
    """It never waits: nobody misses it."""
    settings(max_per_hour={"email": 1, "sms": 1, "push": 1})
    desk.handle(registered(), CONSENT, confirmed())
    [item] = send().json["items"]
    assert (item["status"], item["reason"]) == ("suppressed", "rate cap")


def test_a_staff_message_goes_to_every_channel_the_user_wants(desk, http, send, notifications, mailbox):
    desk.handle(registered())
    owner = bearer(notifications, AMAL)
    http.put(f"/notifications/{AMAL}/preferences", json={"phone": "+4915112345678"}, headers=owner)
    response = send("staff.message")
    assert {item["channel"] for item in response.json["items"]} == {"email", "sms"}
    desk.system.drain()
    assert len(mailbox.letters()) == 2
    assert send("order.confirmed").status_code == 422
    assert send(title="two\nlines").status_code == 422


def test_only_the_owner_and_staff_read_the_delivery_log(desk, http, notifications, mailbox):
    desk.handle(registered(), confirmed())
    [row] = desk.notifications()
    url = f"/notifications/{AMAL}/{row.id}"
    shown = http.get(url, headers=bearer(notifications, AMAL)).json
    assert [(entry["outcome"], entry["error"]) for entry in shown["log"]] == [("sent", None)]
    assert shown["log"][0]["reference"] == f"<{row.id}@souk.example>"
    assert http.get(url, headers=bearer(notifications, uuid4())).status_code == 404
    elsewhere = f"/notifications/{uuid4()}/{row.id}"
    assert http.get(elsewhere, headers=bearer(notifications, uuid4(), "staff")).status_code == 404
