"""When messages are sent: quiet hours in local time, digests, and the hourly cap."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.base import clock
from chassis.run.testing import bearer
from contracts.orders import OrderShipped
from contracts.users import UserDeleted
from services.notifications.digest import send_due
from services.notifications.models import Contact, Preferences
from services.notifications.timing import after_quiet_hours, next_digest
from tests.conftest import waiting_for_locks
from tests.installation import until
from tests.notifications.conftest import ADDRESS, AMAL, confirmed, delivered, envelope, registered, shipped

BERLIN = ZoneInfo("Europe/Berlin")


def quiet(begin, end):
    return Preferences(quiet_from=begin, quiet_until=end)


@pytest.mark.parametrize(
    ("begin", "end", "at", "leaves"),
    [
        (time(22), time(7), "2025-01-10 23:30", "2025-01-11 07:00"),
        (time(22), time(7), "2025-01-10 03:00", "2025-01-10 07:00"),
        (time(22), time(7), "2025-01-10 07:00", "2025-01-10 07:00"),
        (time(22), time(7), "2025-01-10 21:59", "2025-01-10 21:59"),
        (time(12), time(14), "2025-01-10 13:00", "2025-01-10 14:00"),
        (time(12), time(14), "2025-01-10 11:00", "2025-01-10 11:00"),
        # The night in which clocks go forward is an hour shorter.
        (time(22), time(7), "2025-03-29 23:00", "2025-03-30 07:00"),
    ],
)
def test_a_message_in_quiet_hours_is_released_at_their_end(begin, end, at, leaves):
    moment = datetime.fromisoformat(at).replace(tzinfo=BERLIN).astimezone(UTC)
    expected = datetime.fromisoformat(leaves).replace(tzinfo=BERLIN)
    assert after_quiet_hours(quiet(begin, end), BERLIN, moment) == expected


@given(
    begin=st.times(),
    end=st.times(),
    at=st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe"]),
)
def test_quiet_hours_delay_by_less_than_a_day_and_never_into_the_past(begin, end, at, zone):
    leaves = after_quiet_hours(quiet(begin, end), ZoneInfo(zone), at)
    assert at <= leaves <= at + timedelta(hours=25)


@given(
    hour=st.integers(0, 23),
    at=st.datetimes(datetime(2024, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"]),
    digest=st.sampled_from(["hourly", "daily"]),
)
def test_the_next_digest_is_due_within_a_day(hour, at, zone, digest):
    due = next_digest(Preferences(digest=digest, digest_hour=hour), ZoneInfo(zone), at)
    assert at < due <= at + timedelta(hours=26 if digest == "daily" else 1)


@pytest.mark.parametrize(
    ("digest", "at", "due"),
    [
        ("daily", "2025-01-10 17:59", "2025-01-10 18:00"),
        ("daily", "2025-01-10 18:00", "2025-01-11 18:00"),
        ("daily", "2025-01-10 18:01", "2025-01-11 18:00"),
        ("hourly", "2025-01-10 17:59", "2025-01-10 18:00"),
        ("hourly", "2025-01-10 18:00", "2025-01-10 19:00"),
    ],
)
def test_a_digest_is_due_at_the_chosen_hour_or_the_next(digest, at, due):
    moment, expected = (datetime.fromisoformat(each).replace(tzinfo=BERLIN) for each in (at, due))
    wanted = Preferences(digest=digest, digest_hour=18)
    assert next_digest(wanted, BERLIN, moment.astimezone(UTC)) == expected


@pytest.fixture
def prefer(client, notifications, desk):
    """Sets Amal's preferences."""
    desk.handle(registered())
    http, headers = client(notifications), bearer(notifications, AMAL)

    def put(**wanted):
        assert http.put(f"/notifications/{AMAL}/preferences", json=wanted, headers=headers).status_code == 200

    return put


def all_day_quiet():
    """Quiet hours that include the next few hours."""
    now = datetime.now(UTC)
    return {"begin": f"{now - timedelta(hours=1):%H:%M}", "end": f"{now + timedelta(hours=5):%H:%M}"}


def test_quiet_hours_delay_news_but_not_messages_about_money(desk, prefer, mailbox):
    prefer(quiet_hours=all_day_quiet())
    desk.handle(shipped(), confirmed())
    waiting, passed = desk.notifications()
    assert (waiting.status, waiting.reason, passed.status) == ("deferred", "quiet hours", "sent")
    assert len(mailbox.letters()) == 1
    desk.sweep(after=timedelta(hours=4))
    assert len(mailbox.letters()) == 1
    desk.sweep(after=timedelta(hours=5))
    assert [row.status for row in desk.notifications()] == ["sent", "sent"]
    assert len(mailbox.letters()) == 2


def digest(desk, after):

    with desk.transaction():
        send_due(clock.now() + after)
    desk.system.drain()


def test_a_digest_is_sent_once_as_one_mail(desk, prefer, mailbox):
    prefer(digest="hourly")
    order = uuid4()
    desk.handle(shipped(order), delivered(order), confirmed())
    # A confirmation does not wait for a digest.
    assert [row.status for row in desk.notifications()] == ["deferred", "deferred", "sent"]
    mailbox.empty()
    digest(desk, timedelta(0))
    # The sweeper leaves to the digest what waits for it.
    desk.sweep(after=timedelta(hours=2))
    assert mailbox.letters() == []
    for _ in range(2):
        digest(desk, timedelta(hours=1, minutes=1))
    [letter] = mailbox.letters(ADDRESS)
    assert letter.summary.subject == "2 updates from Souk"
    for part in (letter.text, letter.html):
        assert "is on its way" in part
        assert "has been delivered" in part
    *collected, _, mailed = desk.notifications()
    assert {(row.status, row.digest_id) for row in collected} == {("collected", mailed.id)}
    assert (mailed.kind, mailed.status) == ("digest", "sent")


def test_messages_over_the_hourly_cap_are_sent_later(desk, prefer, settings, mailbox):
    settings(max_per_hour={"email": 2, "sms": 1, "push": 1})
    desk.handle(*(confirmed() for _ in range(5)))
    rows = desk.notifications()
    assert [row.status for row in rows] == ["sent", "sent", "deferred", "deferred", "deferred"]
    assert {row.reason for row in rows[2:]} == {"rate cap"}
    hours = [round((row.release_at - rows[0].release_at) / timedelta(hours=1)) for row in rows]
    assert hours == [0, 0, 1, 1, 2]
    desk.sweep(after=timedelta(minutes=61))
    assert [row.status for row in desk.notifications()].count("sent") == 4


def test_what_waits_for_a_digest_does_not_count_for_the_cap(desk, prefer, settings, mailbox):
    """It is one mail with the others."""
    settings(max_per_hour={"email": 1, "sms": 1, "push": 1})
    prefer(digest="hourly")
    desk.handle(shipped(), shipped(), confirmed())
    assert [row.status for row in desk.notifications()] == ["deferred", "deferred", "sent"]


def test_two_messages_at_once_do_not_exceed_the_cap(desk, prefer, settings, notifications):
    settings(max_per_hour={"email": 1, "sms": 1, "push": 1})
    with ThreadPoolExecutor(2) as pool:
        with desk.transaction():
            Contact.get_for_update(AMAL)
            handled = [pool.submit(desk.system.deliver, notifications, envelope(confirmed())) for _ in range(2)]
            until(lambda: waiting_for_locks(notifications) == 2, 20)
        for each in handled:
            each.result()
    assert sorted(row.status for row in desk.notifications()) == ["deferred", "pending"]


def test_the_cap_drops_messages_that_would_wait_more_than_a_day(desk, prefer, settings, mailbox):
    settings(max_per_hour={"email": 1, "sms": 1, "push": 1})
    desk.handle(*(confirmed() for _ in range(26)))
    last = desk.notifications()[-1]
    assert (last.status, last.reason) == ("suppressed", "rate cap")


def test_security_messages_ignore_the_cap_and_quiet_hours(desk, prefer, settings, mailbox):
    from contracts.users import PasswordChanged

    settings(max_per_hour={"email": 1, "sms": 1, "push": 1})
    prefer(quiet_hours=all_day_quiet(), digest="daily")
    desk.handle(confirmed(), PasswordChanged(AMAL), PasswordChanged(AMAL))
    assert [row.status for row in desk.notifications()] == ["sent"] * 3


def test_a_digest_holds_only_its_readers_news(desk, prefer, client, notifications, mailbox):
    omar = uuid4()
    prefer(digest="hourly")
    desk.handle(registered(omar, "omar@example.com"))
    body, headers = {"digest": "hourly"}, bearer(notifications, omar)
    assert (
        client(notifications).put(f"/notifications/{omar}/preferences", json=body, headers=headers).status_code == 200
    )
    desk.handle(shipped(), OrderShipped(uuid4(), omar), OrderShipped(uuid4(), omar))
    digest(desk, timedelta(hours=1, minutes=1))
    assert len(mailbox.letters(ADDRESS)) == len(mailbox.letters("omar@example.com")) == 1
    own, *theirs = [row.digest_id for row in desk.notifications() if row.status == "collected"]
    assert own not in theirs
    assert len(set(theirs)) == 1


def test_what_waits_is_not_sent_to_a_deleted_user(desk, prefer, mailbox):
    prefer(quiet_hours=all_day_quiet())
    desk.handle(shipped(), UserDeleted(AMAL))
    desk.sweep(after=timedelta(days=1))
    assert mailbox.letters() == []
    assert [row.status for row in desk.notifications()] == ["suppressed"]
