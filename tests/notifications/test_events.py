"""Notifications that follow from events of users, orders and stock."""

from datetime import timedelta
from itertools import permutations
from uuid import uuid4

import pytest
from sqlalchemy import text

from chassis.run.testing import bearer
from chassis.storage import postgres
from contracts.orders import Line, OrderRefunded
from contracts.reasons import Audience, Note, Reason
from contracts.stock import StockLow
from contracts.users import RegistrationRepeated, UserDeleted, UserUpdated
from tests.notifications.conftest import ADDRESS, AMAL, MONDAY, cancelled, confirmed, envelope, registered, verified
from tests.notifications.parties import Browser


def test_a_confirmed_order_is_mailed_with_its_lines_and_its_total(desk, mailbox):
    order = confirmed()
    desk.handle(registered(), verified(), order)
    [letter] = mailbox.letters(ADDRESS)
    headers = dict(letter.headers)
    assert letter.summary.subject == f"Your order {str(order.order_id)[:8]} is confirmed"
    assert (headers["To"], headers["From"]) == (ADDRESS, "Souk <orders@souk.example>")
    for part in (letter.text, letter.html):
        for shown in ("Hello Amal,", "Copper teapot", "€90.00", "Saffron, 1 g", "€102.50", str(order.order_id)):
            assert shown in part
    [notification] = desk.notifications()
    assert (notification.status, notification.attempts, notification.recipient) == ("sent", 1, ADDRESS)
    assert headers["Message-ID"] == f"<{notification.id}@souk.example>"


@pytest.mark.parametrize(("audience", "is_read"), [(Audience.STAFF, False), (Audience.CUSTOMER, True)])
def test_a_mail_holds_a_staff_note_only_if_it_is_for_the_customer(desk, mailbox, audience, is_read):
    note = Note("The glaze has cracks.", audience)
    desk.handle(registered(), cancelled(Reason.OUT_OF_STOCK, note))
    desk.handle(OrderRefunded(uuid4(), AMAL, 1250, "EUR", Reason.REFUNDED_BY_SHOP, note))
    letters = mailbox.letters()
    assert {letter.summary.subject.split()[0] for letter in letters} == {"Your", "Refund"}
    for letter in letters:
        assert [note.text in part for part in (letter.text, letter.html)] == [is_read] * 2


def test_an_order_confirmed_before_its_customer_is_registered_is_mailed_afterwards(desk, mailbox):
    desk.handle(confirmed())
    assert [name for name, _ in desk.system.retried] == ["notifications"]
    desk.system.redrain()
    assert mailbox.letters() == []
    desk.handle(registered())
    desk.system.redrain()
    assert len(mailbox.letters(ADDRESS)) == 1
    assert (desk.system.retried, desk.system.dead_letters) == ([], [])


def test_a_confirmation_delivered_twice_is_mailed_once(desk, mailbox):
    order = confirmed()
    message = envelope(order)
    desk.handle(registered())
    desk.receive(message)
    desk.receive(message)
    desk.handle(order)
    assert len(mailbox.letters()) == 1
    assert len(desk.notifications()) == 1


def test_each_order_and_each_of_its_events_is_mailed(desk, mailbox):
    desk.handle(registered(), confirmed(), confirmed(), cancelled())
    assert len(mailbox.letters()) == 3


def test_a_product_name_is_escaped_in_the_mail(desk, mailbox):
    name = "<script>alert('tea')</script> & co"
    desk.handle(registered(first_name="<b>Amal</b>"), confirmed(lines=[Line(uuid4(), name, 1, 100)]))
    [letter] = mailbox.letters()
    assert "<script" not in letter.html
    assert "<b>" not in letter.html
    assert "&lt;script&gt;alert(&#39;tea&#39;)&lt;/script&gt; &amp; co" in letter.html
    assert name in letter.text


def test_a_name_with_line_breaks_adds_no_header_and_no_line(desk, mailbox):
    desk.handle(registered(first_name="Amal\r\nBcc: all@example.com\n\nBuy"), verified(), confirmed())
    [letter] = mailbox.letters()
    assert letter.summary.recipients == (ADDRESS,)
    assert "Bcc" not in dict(letter.headers)
    assert "Hello Amal Bcc: all@example.com Buy,\n" in letter.text


def test_a_customer_without_a_first_name_is_greeted_by_username(desk, mailbox):
    desk.handle(registered(first_name=""), verified(), confirmed())
    assert mailbox.letters()[0].text.startswith("Hello amal,")


@pytest.mark.parametrize("first_name", ["Win at evil.example", ""])
def test_a_mail_to_an_unverified_address_shows_no_name(desk, mailbox, first_name):
    desk.handle(registered(first_name=first_name), verified(email="another@example.com"), confirmed())
    [letter] = mailbox.letters()
    assert letter.text.startswith("Hello,\n")
    assert "evil" not in letter.text + letter.html
    assert "amal," not in letter.text


def test_a_new_address_is_greeted_by_name_once_it_is_verified(desk, mailbox):
    desk.handle(registered(), verified(), UserUpdated(AMAL, "new@example.com", "amal", "Amal", "Haddad"), at=MONDAY)
    desk.handle(UserUpdated(AMAL, "new@example.com", "amal", "Amal", "Haddad"), at=MONDAY + timedelta(hours=1))
    desk.handle(confirmed())
    desk.handle(verified(email="new@example.com"), confirmed())
    greetings = [letter.text.partition("\n")[0] for letter in mailbox.letters("new@example.com")]
    assert greetings == ["Hello,", "Hello Amal,"]


NEWS = [
    (registered(), 0),
    (UserUpdated(AMAL, "new@example.com", "amal", "Amal", "Haddad"), 1),
    (UserUpdated(AMAL, "newest@example.com", "amal", "Amal", "Haddad"), 2),
]


@pytest.mark.parametrize("order", list(permutations(NEWS)))
def test_the_latest_update_of_a_user_wins_in_any_order_of_arrival(desk, mailbox, order):
    for message, hours in [*order, order[0]]:
        desk.handle(message, at=MONDAY + timedelta(hours=hours))
    desk.handle(confirmed())
    [letter] = mailbox.letters()
    assert letter.summary.recipients == ("newest@example.com",)


@pytest.mark.parametrize("order", list(permutations([*NEWS[:2], (UserDeleted(AMAL), 2)])))
def test_a_deleted_user_gets_nothing_and_no_data_of_theirs_is_kept(desk, mailbox, order):
    for message, hours in order:
        desk.handle(message, at=MONDAY + timedelta(hours=hours))
    desk.handle(confirmed())
    assert mailbox.letters() == []
    [contact] = desk.contacts()
    assert (contact.email, contact.username, contact.first_name, contact.last_name) == (None, None, None, None)
    [notification] = desk.notifications()
    assert (notification.status, notification.recipient, notification.text) == ("suppressed", "", "")


def test_a_deletion_holds_even_against_a_clock_that_is_ahead(desk, mailbox):
    desk.handle(UserDeleted(AMAL), at=MONDAY)
    desk.handle(registered(), at=MONDAY + timedelta(days=1))
    desk.handle(confirmed())
    assert mailbox.letters() == []


def test_past_notifications_are_blanked_when_the_account_is_deleted(desk, mailbox):
    desk.handle(registered(), confirmed(), UserDeleted(AMAL))
    [notification] = desk.notifications()
    kept = (notification.recipient, notification.subject, notification.text, notification.html)
    assert kept == ("", "", "", "")
    assert notification.status == "sent"
    assert notification.kind == "order.confirmed"


def test_other_users_keep_their_notifications(desk, mailbox):
    omar = uuid4()
    desk.handle(registered(), registered(omar, "omar@example.com"), confirmed(user_id=omar), UserDeleted(AMAL))
    assert desk.notifications()[0].recipient == "omar@example.com"


def test_each_refund_of_an_order_is_mailed(desk, mailbox):
    order = uuid4()
    refunds = [OrderRefunded(order, AMAL, amount, "EUR", Reason.REFUNDED_BY_SHOP) for amount in (1250, 1250)]
    desk.handle(registered(), *refunds)
    letters = mailbox.letters(ADDRESS)
    assert len(letters) == 2
    assert "€12.50" in letters[0].text
    assert {row.subject_id for row in desk.notifications()} == {order}


def test_a_refund_delivered_twice_is_mailed_once(desk, mailbox):
    desk.handle(registered())
    desk.receive(message := envelope(OrderRefunded(uuid4(), AMAL, 1250, "EUR", Reason.REFUNDED_BY_SHOP)))
    desk.receive(message)
    assert len(mailbox.letters(ADDRESS)) == 1


def test_staff_are_mailed_each_time_a_product_runs_low(desk, settings, mailbox):
    low = StockLow(uuid4(), "POT-1", 2, 5)
    desk.handle(low)
    assert desk.notifications() == []
    settings(staff_address="stock@souk.example")
    desk.handle(low, low)
    letters = mailbox.letters("stock@souk.example")
    assert [letter.summary.subject for letter in letters] == ["POT-1 is running low: 2 left"] * 2
    desk.receive(message := envelope(low))
    desk.receive(message)
    assert len(mailbox.letters()) == 3


def test_preferences_and_devices_are_erased_with_the_user(desk, client, notifications, mailbox):
    desk.handle(registered())
    http, headers = client(notifications), bearer(notifications, AMAL)
    http.put(f"/notifications/{AMAL}/preferences", json={"phone": "+4915112345678"}, headers=headers)
    device = Browser("https://push.example.com").subscription()
    assert http.post(f"/notifications/{AMAL}/devices", json=device, headers=headers).status_code == 201
    desk.handle(UserDeleted(AMAL))
    with desk.transaction():
        left = [
            postgres.session().scalar(text(f"SELECT count(*) FROM {table}")) for table in ("preferences", "devices")
        ]
    assert left == [0, 0]


def test_other_users_keep_their_preferences_and_devices(desk, client, notifications, mailbox):
    omar = uuid4()
    desk.handle(registered(), registered(omar, "omar@example.com"))
    http = client(notifications)
    for user_id in (AMAL, omar):
        path, headers = f"/notifications/{user_id}", bearer(notifications, user_id)
        http.put(f"{path}/preferences", json={"phone": "+4915112345678"}, headers=headers)
        device = Browser("https://push.example.com").subscription()
        assert http.post(f"{path}/devices", json=device, headers=headers).status_code == 201
    desk.handle(UserDeleted(AMAL))
    assert http.get(f"{path}/preferences", headers=headers).json["phone"] == "+4915112345678"
    with desk.transaction():
        assert postgres.session().scalars(text("SELECT user_id FROM devices")).all() == [omar]


def test_each_repeated_registration_is_mailed(desk, mailbox):
    desk.handle(registered(), RegistrationRepeated(AMAL), RegistrationRepeated(AMAL))
    assert len(mailbox.letters(ADDRESS)) == 2
