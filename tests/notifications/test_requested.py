"""Mails with a token: fetched just before sending, stored nowhere else, and not sent once it has expired."""

import json
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from sqlalchemy import text

from chassis.storage import postgres
from contracts.users import EmailVerificationRequested, PasswordChanged, PasswordResetRequested, UserDeleted
from tests.notifications.conftest import ADDRESS, AMAL, registered
from tests.notifications.parties import Requests

TOKEN = "a-token-of-users"


@pytest.fixture
def requests(serve, settings):
    """A stand-in for users with one request."""
    stand_in = Requests()
    settings(services={"users": serve(stand_in.app())}, api_key="our-key")
    return stand_in


@pytest.fixture
def request_id(requests):
    request_id = uuid4()
    expires_at = datetime(2030, 1, 1, 12, tzinfo=UTC).isoformat()
    requests.requests[request_id] = {"email": "new@example.com", "token": TOKEN, "expires_at": expires_at}
    return request_id


@pytest.mark.parametrize(
    ("message", "link"),
    [
        (EmailVerificationRequested, f"/verify-email?token={TOKEN}"),
        (PasswordResetRequested, f"/reset-password?token={TOKEN}"),
    ],
)
def test_the_mail_goes_to_the_requests_address_and_only_it_holds_the_link(
    desk, requests, request_id, mailbox, message, link
):
    desk.handle(registered(), message(AMAL, request_id))
    [letter] = mailbox.letters("new@example.com")
    assert mailbox.letters(ADDRESS) == []
    for part in (letter.text, letter.html):
        assert link in part
        assert "January 1, 2030" in part
    assert requests.keys == ["our-key"]
    assert "List-Unsubscribe" not in dict(letter.headers)
    with desk.transaction():
        kept = postgres.session().execute(text("SELECT to_jsonb(n)::text FROM notifications n")).scalars().all()
        kept += postgres.session().execute(text("SELECT to_jsonb(o)::text FROM outbox o")).scalars().all()
    assert TOKEN not in json.dumps(kept)


def test_a_used_or_expired_request_is_not_mailed(desk, requests, mailbox):
    desk.handle(registered(), PasswordResetRequested(AMAL, uuid4()))
    [row] = desk.notifications()
    assert (row.status, row.reason) == ("suppressed", "used or expired")
    assert mailbox.letters() == []


def test_the_mail_waits_until_users_is_available(desk, requests, request_id, mailbox):
    requests.is_available = False
    desk.fail(registered(), EmailVerificationRequested(AMAL, request_id))
    [row] = desk.notifications()
    assert row.status == "pending"
    assert TOKEN not in (row.error or "")
    requests.is_available = True
    desk.deliver(row.id)
    assert len(mailbox.letters("new@example.com")) == 1


def test_each_request_is_mailed_once(desk, requests, request_id, mailbox):
    desk.handle(registered(), *(PasswordResetRequested(AMAL, request_id) for _ in range(2)))
    assert len(mailbox.letters()) == 1


def test_no_token_is_requested_for_a_deleted_user(desk, requests, request_id, mailbox):
    desk.handle(registered(), UserDeleted(AMAL), PasswordResetRequested(AMAL, request_id))
    assert (requests.keys, mailbox.letters()) == ([], [])


def test_each_password_change_is_mailed(desk, mailbox):
    desk.handle(registered(), PasswordChanged(AMAL), PasswordChanged(AMAL))
    letters = mailbox.letters(ADDRESS)
    assert [letter.summary.subject for letter in letters] == ["Your password was changed"] * 2
    assert "March 3, 2025" in letters[0].text
