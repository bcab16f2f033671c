from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import update

from chassis.base import clock
from chassis.run.testing import bearer
from chassis.storage import postgres
from contracts.users import EmailVerificationRequested, UserDeleted, UserRegistered, UserUpdated
from services.users.models.preferences import Preferences
from services.users.models.user import User

from .conftest import person


@pytest.fixture
def published(users, system):
    """The messages about accounts published since the last call."""
    relayed = system(users)

    def fetch():
        before = len(relayed.sent)
        relayed.drain()
        messages = [envelope.message() for envelope in relayed.sent[before:]]
        return [message for message in messages if not isinstance(message, EmailVerificationRequested)]

    return fetch


def test_changes_to_an_account_are_published(http, register, users, published):
    account = register(last_name=None)
    user_id = UUID(account["id"])
    url, headers = f"/users/{user_id}", bearer(users, user_id)
    assert published() == [UserRegistered(user_id, "ada@example.com", "ada", "Ada", "")]

    body = {"email": "countess@example.com", "username": "ada", "first_name": "Ada", "last_name": "King"}
    http.put(url, json=body, headers=headers)
    assert published() == [UserUpdated(user_id, "ada@example.com", "ada", "Ada", "King")]

    http.delete(url, headers=headers)
    assert published() == [UserDeleted(user_id)]


def test_a_later_change_has_a_later_moment_even_by_a_slower_clock(http, register, users, system):
    account = register()
    user_id = UUID(account["id"])
    ahead = clock.now() + timedelta(seconds=30)
    with users.store.transaction():
        for table in (User, Preferences):
            postgres.session().execute(update(table).values(updated_at=ahead))
    body = {"email": account["email"], "username": "ada", "first_name": "Ada", "last_name": "King"}
    relayed, headers = system(users), bearer(users, user_id)
    http.put(f"/users/{user_id}", json=body, headers=headers)
    for locale in ("de", "en"):
        http.put(f"/users/{user_id}/preferences", json={"locale": locale}, headers=headers)
    relayed.drain()
    changed = [sent.time for sent in relayed.sent if sent.type == "user.updated"]
    wishes = [sent.time for sent in relayed.sent if sent.type == "user.preferences_updated"]
    assert ahead < changed[0]
    assert wishes[0] < wishes[1]


def test_nothing_is_published_when_nothing_changed(http, register, users, published):
    account = register()
    url, headers = f"/users/{account['id']}", bearer(users, UUID(account["id"]))
    same = person()
    del same["password"]
    assert http.put(url, json=same, headers=headers).json["updated_at"] == account["updated_at"]
    for _ in range(2):
        http.delete(url, headers=headers)
    assert [type(message) for message in published()] == [UserRegistered, UserDeleted]
