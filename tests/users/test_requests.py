"""Requests confirmed by mail: address verification and password reset. A token is stored nowhere and works once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from chassis.base.clock import LEEWAY
from chassis.run.testing import bearer
from chassis.storage import postgres
from contracts.users import (
    EmailVerificationRequested,
    EmailVerified,
    PasswordChanged,
    PasswordResetRequested,
    UserUpdated,
)
from services.users.models.request import Request

from ..conftest import waiting_for_locks
from ..installation import until
from .conftest import PASSWORD

NEW = "a whole new phrase of words"
NOTIFICATIONS = {"X-API-Key": "notifications-key"}


@pytest.fixture
def mailed(http, users, system) -> Callable[[type], Any]:
    """The response that notifications gets for the last message of this kind; None if there was none."""

    def fetch(kind: type) -> Any:
        relayed = system(users)
        relayed.drain()
        found = [message for message in (envelope.message() for envelope in relayed.sent) if isinstance(message, kind)]
        if not found:
            return None
        return http.get(f"/internal/requests/{found[-1].request_id}", headers=NOTIFICATIONS)

    return fetch


@pytest.fixture
def forgot(http):
    return lambda email="ada@example.com": http.post("/users/password/forgot", json={"email": email})


@pytest.fixture
def reset(http):
    return lambda token, password=NEW: http.post(
        "/users/password/reset", json={"token": token, "new_password": password}
    )


@pytest.fixture
def verify(http):
    return lambda token: http.post("/users/email/verify", json={"token": token})


@pytest.fixture
def move_address(http, users):
    """Gives an account another e-mail address."""

    def put(account: Any, email: str) -> None:
        body = {"email": email, "username": account["username"]}
        url = f"/users/{account['id']}"
        assert http.put(url, json=body, headers=bearer(users, UUID(account["id"]))).status_code == 200

    return put


@pytest.fixture
def age(users):
    """Moves the moment of every request into the past."""

    def by(period: timedelta) -> None:
        with users.store.transaction():
            moved = update(Request).values(
                created_at=Request.created_at - period, expires_at=Request.expires_at - period
            )
            postgres.session().execute(moved)

    return by


def account_of(http, users, account) -> Any:
    return http.get("/users/me", headers=bearer(users, UUID(account["id"]))).json


def test_a_forgotten_password_can_be_reset_once_per_token(register, log_in, forgot, reset, mailed):
    register()
    assert (forgot().status_code, forgot().data) == (202, b"")
    request = mailed(PasswordResetRequested)
    assert request.json["email"] == "ada@example.com"
    assert reset(request.json["token"]).status_code == 204
    assert (log_in().status_code, log_in(password=NEW).status_code) == (401, 200)
    again = reset(request.json["token"], "another phrase of words")
    assert (again.status_code, again.json["type"], again.json["errors"][0]["field"]) == (
        422, "/problems/token-refused", "token",
    )  # fmt: skip
    assert log_in(password=NEW).status_code == 200


def test_of_two_resets_at_once_with_one_token_one_succeeds(register, log_in, forgot, mailed, client, users):
    register()
    forgot()
    token = mailed(PasswordResetRequested).json["token"]

    def reset(password: str) -> int:
        body = {"token": token, "new_password": password}
        return client(users).post("/users/password/reset", json=body).status_code

    with ThreadPoolExecutor(2) as pool:
        with users.store.transaction():
            # Both wait for the request at once.
            postgres.session().execute(select(Request).with_for_update())
            resets = [pool.submit(reset, password) for password in (NEW, f"{NEW} again")]
            until(lambda: waiting_for_locks(users) == 2)
        statuses = [each.result() for each in resets]
    assert sorted(statuses) == [204, 422]
    winner = NEW if statuses[0] == 204 else f"{NEW} again"
    assert log_in(password=winner).status_code == 200


def test_a_reset_ends_every_session_and_notifies_the_owner(
    http, register, log_in, forgot, reset, mailed, users, system
):
    register()
    session = log_in().json
    forgot()
    reset(mailed(PasswordResetRequested).json["token"])
    assert http.post("/users/token/refresh", json={"refresh_token": session["refresh_token"]}).status_code == 401
    relayed = system(users)
    relayed.drain()
    assert [envelope.message() for envelope in relayed.sent] == [PasswordChanged(UUID(session["user_id"]))]


def test_a_forgotten_password_does_not_reveal_whether_there_is_an_account(register, forgot, mailed):
    register()
    mailed(EmailVerificationRequested)
    known, unknown = forgot("ada@example.com"), forgot("nobody@example.com")
    assert (known.status_code, known.data, dict(known.headers)) == (
        unknown.status_code,
        unknown.data,
        dict(unknown.headers),
    )


def test_an_unknown_address_gets_no_mail(forgot, mailed):
    assert forgot("nobody@example.com").status_code == 202
    assert mailed(PasswordResetRequested) is None


def test_an_inactive_account_gets_no_mail(register, forgot, mailed, deactivate):
    account = register()
    assert mailed(EmailVerificationRequested).status_code == 200
    forgot()
    deactivate(account["id"])
    assert mailed(PasswordResetRequested).status_code == 404
    assert forgot().status_code == 202
    assert mailed(PasswordResetRequested) is None


def test_a_newer_request_replaces_an_older_one(register, forgot, reset, mailed):
    register()
    forgot()
    older = mailed(PasswordResetRequested).json["token"]
    forgot()
    newer = mailed(PasswordResetRequested).json["token"]
    assert reset(older).status_code == 422
    assert reset(newer).status_code == 204


def test_a_verified_address_is_published(register, verify, mailed, users, system):
    account = register()
    assert verify(mailed(EmailVerificationRequested).json["token"]).status_code == 204
    relayed = system(users)
    relayed.drain()
    assert [envelope.message() for envelope in relayed.sent] == [EmailVerified(UUID(account["id"]), "ada@example.com")]


def test_a_reset_token_expires_after_an_hour(register, forgot, reset, mailed, age):
    register()
    forgot()
    token = mailed(PasswordResetRequested).json["token"]
    age(timedelta(minutes=55))
    assert reset(token, "short").status_code == 422
    age(timedelta(minutes=5) + LEEWAY)
    assert reset(token).status_code == 422


def test_a_verification_token_expires_after_three_days(register, http, users, verify, mailed, age):
    account = register()
    token = mailed(EmailVerificationRequested).json["token"]
    age(timedelta(days=3) + LEEWAY)
    assert verify(token).status_code == 422
    headers = bearer(users, UUID(account["id"]))
    http.post("/users/email/verification", headers=headers)
    token = mailed(EmailVerificationRequested).json["token"]
    age(timedelta(days=3) - timedelta(minutes=5))
    assert verify(token).status_code == 204


def test_a_reset_to_a_weak_password_is_refused(register, forgot, reset, mailed):
    register()
    forgot()
    token = mailed(PasswordResetRequested).json["token"]
    for weak in ("password1234", "ada@example.com", "qwertyuiop12"):
        response = reset(token, weak)
        assert (response.status_code, response.json["errors"][0]["field"]) == (422, "new_password")
    assert reset(token).status_code == 204


def test_a_token_serves_only_its_own_purpose(register, forgot, reset, verify, mailed):
    register()
    address = mailed(EmailVerificationRequested).json["token"]
    forgot()
    password = mailed(PasswordResetRequested).json["token"]
    assert (reset(address).status_code, verify(password).status_code) == (422, 422)
    assert (verify(address).status_code, reset(password).status_code) == (204, 204)


@pytest.mark.parametrize("token", ["", "x", "A" * 64, "é", "=" * 10, "\u2028"])
def test_a_token_that_we_did_not_issue_is_refused(reset, verify, token):
    assert (reset(token).status_code, verify(token).status_code) == (422, 422)


def test_the_token_is_in_no_table(register, forgot, mailed, users):
    from .test_secrets import everything

    register()
    forgot()
    token = mailed(PasswordResetRequested).json["token"]
    assert token not in everything(users)


def test_only_notifications_can_read_the_token(register, http, users, system):
    account = register()
    relayed = system(users)
    relayed.drain()
    (request_id,) = [e.data["request_id"] for e in relayed.sent if e.type == "user.email_verification_requested"]
    url = f"/internal/requests/{request_id}"
    assert http.get(url).status_code == 401
    assert http.get(url, headers={"X-API-Key": "orders-key"}).status_code == 401
    assert http.get(url, headers=bearer(users, UUID(account["id"]), "admin")).status_code == 403
    assert http.get(url, headers=NOTIFICATIONS).status_code == 200


def test_an_address_is_verified_once_per_token(register, http, users, verify, mailed):
    account = register()
    assert account["email_verified"] is False
    token = mailed(EmailVerificationRequested).json["token"]
    assert verify(token).status_code == 204
    assert account_of(http, users, account)["email_verified"] is True
    assert verify(token).status_code == 422


def test_a_new_address_needs_verification_and_an_old_mail_does_not_verify_it(
    register, http, users, verify, mailed, system
):
    account = register()
    old = mailed(EmailVerificationRequested).json["token"]
    body = {"email": "countess@example.com", "username": "ada"}
    http.put(f"/users/{account['id']}", json=body, headers=bearer(users, UUID(account["id"])))
    request = mailed(EmailVerificationRequested).json
    assert request["email"] == "countess@example.com"
    assert verify(old).status_code == 422
    assert account_of(http, users, account)["email"] == "ada@example.com"
    relayed = system(users)
    assert verify(request["token"]).status_code == 204
    relayed.drain()
    assert [each.message() for each in relayed.sent] == [
        UserUpdated(UUID(account["id"]), "countess@example.com", "ada", "", ""),
        EmailVerified(UUID(account["id"]), "countess@example.com"),
    ]
    changed = account_of(http, users, account)
    assert (changed["email"], changed["pending_email"], changed["email_verified"]) == (
        "countess@example.com", None, True,
    )  # fmt: skip


def test_an_address_taken_before_it_was_verified_is_refused(register, http, users, verify, mailed):
    account = register()
    body = {"email": "bob@example.com", "username": "ada"}
    http.put(f"/users/{account['id']}", json=body, headers=bearer(users, UUID(account["id"])))
    token = mailed(EmailVerificationRequested).json["token"]
    register("bob")
    assert (verify(token).status_code, verify(token).json["type"]) == (409, "/problems/already-taken")
    assert account_of(http, users, account)["email"] == "ada@example.com"


def test_a_token_for_a_dropped_address_is_refused(register, http, users, verify, mailed):
    account = register()
    headers = bearer(users, UUID(account["id"]))
    for email in ("countess@example.com", "ada@example.com"):
        http.put(f"/users/{account['id']}", json={"email": email, "username": "ada"}, headers=headers)
    assert verify(mailed(EmailVerificationRequested).json["token"]).status_code == 422


def test_a_verified_address_stays_until_the_new_one_is_verified(register, http, users, verify, mailed, move_address):
    account = register()
    verify(mailed(EmailVerificationRequested).json["token"])
    move_address(account, "countess@example.com")
    seen = account_of(http, users, account)
    assert (seen["email"], seen["pending_email"], seen["email_verified"]) == (
        "ada@example.com", "countess@example.com", True,
    )  # fmt: skip


def test_a_verified_address_stays_verified_when_only_names_change(register, http, users, verify, mailed):
    account = register()
    verify(mailed(EmailVerificationRequested).json["token"])
    body = {"email": account["email"], "username": "countess"}
    http.put(f"/users/{account['id']}", json=body, headers=bearer(users, UUID(account["id"])))
    assert account_of(http, users, account)["email_verified"] is True


def test_a_mail_to_an_earlier_address_does_not_verify_one_that_got_no_mail(
    register, http, users, verify, mailed, move_address
):
    """After five mails in an hour none is sent, and so none replaced."""
    account = register()
    for number in range(4):
        move_address(account, f"countess{number}@example.com")
    fifth = mailed(EmailVerificationRequested).json
    assert fifth["email"] == "countess3@example.com"
    move_address(account, "countess4@example.com")
    assert mailed(EmailVerificationRequested) is None
    assert verify(fifth["token"]).status_code == 422
    seen = account_of(http, users, account)
    assert (seen["email"], seen["email_verified"]) == ("ada@example.com", False)


def test_a_verified_account_gets_no_further_verification_mail(register, http, users, verify, mailed):
    account = register()
    verify(mailed(EmailVerificationRequested).json["token"])
    assert http.post("/users/email/verification", headers=bearer(users, UUID(account["id"]))).status_code == 202
    assert mailed(EmailVerificationRequested) is None


def test_the_verification_mail_can_be_requested_five_times_an_hour(register, http, users, mailed, age):
    headers = bearer(users, UUID(register()["id"]))

    def sent() -> int:
        for _ in range(10):
            assert http.post("/users/email/verification", headers=headers).status_code == 202
        with users.store.transaction():
            return postgres.session().query(Request).count()

    assert sent() == 5
    age(timedelta(minutes=59))
    assert sent() == 5
    age(timedelta(minutes=2))
    assert sent() == 10


def test_a_closed_account_has_no_open_request(register, http, users, forgot, mailed, reset):
    account = register()
    forgot()
    token = mailed(PasswordResetRequested).json["token"]
    http.delete(f"/users/{account['id']}", headers=bearer(users, UUID(account["id"])))
    assert reset(token).status_code == 422


def test_closing_an_account_leaves_the_requests_of_others(register, http, users, forgot, mailed, reset):
    register()
    alan = register("alan")
    forgot()
    token = mailed(PasswordResetRequested).json["token"]
    http.delete(f"/users/{alan['id']}", headers=bearer(users, UUID(alan["id"])))
    assert reset(token).status_code == 204


def test_a_forgotten_password_leaves_the_verification_open(register, forgot, verify, mailed):
    register()
    token = mailed(EmailVerificationRequested).json["token"]
    forgot()
    assert verify(token).status_code == 204


def test_what_happens_to_an_account_is_in_its_audit_trail(
    register, http, users, verify, mailed, move_address, log_in, forgot, reset
):
    account = register()
    verify(mailed(EmailVerificationRequested).json["token"])
    move_address(account, "countess@example.com")
    verify(mailed(EmailVerificationRequested).json["token"])
    forgot("countess@example.com")
    reset(mailed(PasswordResetRequested).json["token"])
    token = log_in("countess@example.com", NEW).json["access_token"]
    http.post("/users/logout", headers={"Authorization": f"Bearer {token}"})
    http.delete(f"/users/{account['id']}", headers=bearer(users, UUID(account["id"])))
    events = http.get("/users/security-events", headers=bearer(users, uuid4(), "admin")).json["items"]
    assert [event["kind"] for event in reversed(events)] == [
        "registered", "email.verified", "email.change_requested", "email.changed", "email.verified",
        "password.forgotten", "password.reset", "login", "logout", "closed",
    ]  # fmt: skip
    assert {event["user_id"] for event in events} == {account["id"]}


def test_a_password_change_ends_every_other_session(register, log_in, http):
    register()
    here, elsewhere = log_in().json, log_in().json
    headers = {"Authorization": f"Bearer {here['access_token']}"}
    body = {"current_password": PASSWORD, "new_password": NEW}
    assert http.put("/users/me/password", json=body, headers=headers).status_code == 204
    assert (log_in().status_code, log_in(password=NEW).status_code) == (401, 200)
    for session, status in ((here, 200), (elsewhere, 401)):
        response = http.post("/users/token/refresh", json={"refresh_token": session["refresh_token"]})
        assert response.status_code == status


def test_a_password_change_requires_the_current_password(register, log_in, http):
    register()
    headers = {"Authorization": f"Bearer {log_in().json['access_token']}"}
    body = {"current_password": "not this one", "new_password": NEW}
    assert http.put("/users/me/password", json=body, headers=headers).status_code == 401
    weak = {"current_password": PASSWORD, "new_password": "lovelace ada"}
    assert http.put("/users/me/password", json=weak, headers=headers).status_code == 422
    assert log_in().status_code == 200
