from uuid import UUID

import pytest

from chassis.run.testing import bearer
from contracts.users import EmailVerificationRequested, UserDeleted, UserRegistered, UserUpdated

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


def test_nothing_is_published_when_nothing_changed(http, register, users, published):
    account = register()
    url, headers = f"/users/{account['id']}", bearer(users, UUID(account["id"]))
    same = person()
    del same["password"]
    assert http.put(url, json=same, headers=headers).json["updated_at"] == account["updated_at"]
    for _ in range(2):
        http.delete(url, headers=headers)
    assert [type(message) for message in published()] == [UserRegistered, UserDeleted]
