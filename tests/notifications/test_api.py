"""Users read their notifications; staff send messages."""

from uuid import uuid4

import pytest

from chassis.run.testing import bearer
from contracts.reasons import Reason
from contracts.users import UserDeleted
from tests.notifications.conftest import ADDRESS, AMAL, cancelled, confirmed, registered

MAIL = {"user_id": str(AMAL), "subject": "Your question", "body": "The teapot holds\none litre <i>and more</i>."}


@pytest.fixture
def http(client, notifications):
    return client(notifications)


@pytest.fixture
def owner(notifications):
    return bearer(notifications, AMAL)


@pytest.fixture
def staff(notifications):
    return bearer(notifications, uuid4(), "staff")


@pytest.fixture
def write(http, staff):
    """Posts a mail as staff, with a new key unless one is given."""

    def post(mail=MAIL, key=None, **changes):
        headers = staff | {"Idempotency-Key": key or uuid4().hex}
        return http.post("/notifications/email", json=mail | changes, headers=headers)

    return post


def test_a_user_lists_their_notifications_newest_first_by_page(desk, http, owner, mailbox):
    orders = [confirmed(), confirmed(), cancelled(Reason.OUT_OF_STOCK)]
    desk.handle(registered(), *orders)
    first = http.get(f"/notifications/{AMAL}?limit=2", headers=owner).json
    second = http.get(f"/notifications/{AMAL}?limit=2&cursor={first['next']}", headers=owner).json
    shown = first["items"] + second["items"]
    assert [item["subject_id"] for item in shown] == [str(order.order_id) for order in reversed(orders)]
    assert second["next"] is None
    newest = shown[0]
    assert (newest["kind"], newest["channel"], newest["recipient"]) == ("order.cancelled", "email", ADDRESS)
    assert newest["status"] == "sent"
    assert "out of stock" in newest["text"]
    assert newest["created_at"] <= newest["sent_at"]


def test_staff_list_any_users_notifications(desk, http, staff, mailbox):
    desk.handle(registered(), confirmed())
    assert len(http.get(f"/notifications/{AMAL}", headers=staff).json["items"]) == 1


def test_another_users_list_is_not_found(desk, http, notifications, mailbox):
    desk.handle(registered(), confirmed())
    response = http.get(f"/notifications/{AMAL}", headers=bearer(notifications, uuid4()))
    assert (response.status_code, response.content_type) == (404, "application/problem+json")


def test_reading_needs_a_token(http):
    assert http.get(f"/notifications/{AMAL}").status_code == 401


def test_a_mail_written_by_staff_is_accepted_and_sent(desk, http, owner, write, mailbox):
    desk.handle(registered())
    response = write()
    assert (response.status_code, response.json["status"]) == (202, "pending")
    desk.system.drain()
    [letter] = mailbox.letters(ADDRESS)
    assert letter.summary.subject == "Your question"
    assert "The teapot holds\none litre <i>and more</i>." in letter.text
    assert "one litre &lt;i&gt;and more&lt;/i&gt;." in letter.html
    [item] = http.get(f"/notifications/{AMAL}", headers=owner).json["items"]
    assert (item["id"], item["status"]) == (response.json["id"], "sent")


def test_a_mail_posted_twice_with_one_key_is_sent_once(desk, write, mailbox):
    desk.handle(registered())
    responses = [write(key="the-same").json["id"] for _ in range(2)]
    desk.system.drain()
    assert responses[0] == responses[1]
    assert len(mailbox.letters()) == 1
    assert write(key="the-same", body="Another.").status_code == 422


def test_two_mails_with_the_same_text_are_two_mails(desk, write, mailbox):
    desk.handle(registered())
    write()
    write()
    desk.system.drain()
    assert len(mailbox.letters()) == 2


def test_a_mail_without_a_key_is_refused(http, staff):
    assert http.post("/notifications/email", json=MAIL, headers=staff).status_code == 400


def test_customers_cannot_send_mails(http, owner):
    response = http.post("/notifications/email", json=MAIL, headers=owner | {"Idempotency-Key": "mine"})
    assert response.status_code == 403


def test_an_unknown_or_deleted_user_cannot_be_mailed(desk, write, mailbox):
    assert write().status_code == 404
    desk.handle(registered(), UserDeleted(AMAL))
    assert write().status_code == 404
    assert desk.notifications() == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("subject", ""),
        ("subject", "s" * 201),
        ("subject", "Hello\r\nBcc: all@example.com"),
        ("body", ""),
        ("body", "b" * 10_001),
        ("user_id", "amal"),
        ("sms", "not a field"),
    ],
)
def test_an_invalid_mail_is_refused_with_the_name_of_its_field(desk, write, field, value):
    desk.handle(registered())
    response = write(**{field: value})
    assert response.status_code == 422
    assert [wrong["field"] for wrong in response.json["errors"]] == [field]
    assert desk.notifications() == []


def test_mails_cannot_be_read_where_they_are_posted(http, staff):
    assert http.get("/notifications/email", headers=staff).status_code == 405
