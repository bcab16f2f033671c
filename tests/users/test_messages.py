from uuid import UUID

import pytest

from chassis.run.testing import bearer
from contracts.users import EmailVerificationRequested, UserDeleted, UserRegistered, UserUpdated

from .conftest import person


@pytest.fixture
def told(users, system):
    """The messages about accounts that left since the last look."""
    relayed = system(users)

    def look():
        before = len(relayed.sent)
        relayed.drain()
        messages = [envelope.message() for envelope in relayed.sent[before:]]
        return [message for message in messages if not isinstance(message, EmailVerificationRequested)]

    return look


def test_others_are_told_what_happens_to_an_account(http, register, users, told):
    account = register(last_name=None)
    user_id = UUID(account["id"])
    url, headers = f"/users/{user_id}", bearer(users, user_id)
    assert told() == [UserRegistered(user_id, "ada@example.com", "ada", "Ada", "")]

    body = {"email": "countess@example.com", "username": "ada", "first_name": "Ada", "last_name": "King"}
    http.put(url, json=body, headers=headers)
    assert told() == [UserUpdated(user_id, "countess@example.com", "ada", "Ada", "King")]

    http.delete(url, headers=headers)
    assert told() == [UserDeleted(user_id)]


def test_others_are_not_told_when_nothing_changed(http, register, users, told):
    account = register()
    url, headers = f"/users/{account['id']}", bearer(users, UUID(account["id"]))
    same = person()
    del same["password"]
    assert http.put(url, json=same, headers=headers).json["updated_at"] == account["updated_at"]
    for _ in range(2):
        http.delete(url, headers=headers)
    assert [type(message) for message in told()] == [UserRegistered, UserDeleted]
