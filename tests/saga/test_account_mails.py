"""From a registration to a confirmed address, and from a forgotten password to a new one, each by its mail."""

import re
from collections.abc import Callable

from tests.conftest import Mailbox, app_of
from tests.saga.conftest import Customer, Platform


def code(mailbox: Mailbox, recipient: str, subject: str) -> str:
    """The code that stands in the mail of this subject."""
    [letter] = [letter for letter in mailbox.letters(recipient) if letter.summary.subject == subject]
    found = re.search(r"Or enter this code: (\S+)", letter.text or "")
    assert found, letter.text
    return found[1]


def test_an_address_is_confirmed_by_the_registration_mail(
    platform: Platform, customer: Callable[[], Customer], mailbox: Mailbox
) -> None:
    amal = customer()
    platform.system.drain()
    token = code(mailbox, amal.email, "Confirm your e-mail address")
    platform.call("users", "POST", "/users/email/verify", {}, {"token": token})
    assert platform.call("users", "GET", "/users/me", amal.headers)["email_verified"] is True
    again = app_of(platform.services["users"]).test_client().post("/users/email/verify", json={"token": token})
    assert again.status_code == 422


def test_a_forgotten_password_is_reset_by_mail_and_the_change_is_mailed(
    platform: Platform, customer: Callable[[], Customer], mailbox: Mailbox
) -> None:
    amal = customer()
    platform.call("users", "POST", "/users/password/forgot", {}, {"email": amal.email})
    platform.system.drain()
    token = code(mailbox, amal.email, "Reset your password")
    new = {"token": token, "new_password": "another horse battery"}
    platform.call("users", "POST", "/users/password/reset", {}, new)
    platform.system.drain()
    login = {"email": amal.email, "password": "another horse battery"}
    assert platform.call("users", "POST", "/users/login", {}, login)["access_token"]
    assert "Your password was changed" in [letter.summary.subject for letter in mailbox.letters(amal.email)]
