"""Reviews over HTTP and by messages."""

from uuid import UUID, uuid4

import pytest

from chassis.messaging.envelope import Envelope
from chassis.run.testing import bearer
from contracts.reviews import ReviewCreated
from contracts.users import UserDeleted


def test_the_owner_and_staff_see_a_review_and_no_one_else(create, http, owner, reviews):
    url = f"/reviews/{create()['id']}"
    assert http.get(url, headers=owner).json["text"] == "Holds a litre."
    assert http.get(url, headers=bearer(reviews, uuid4(), "staff")).status_code == 200
    assert http.get(url, headers=bearer(reviews, uuid4())).status_code == 404
    assert http.get(url).status_code == 401


def test_the_list_has_the_callers_own_newest_first(create, http, owner, reviews):
    texts = ["one", "two", "three"]
    for text in texts:
        create(text)
    first = http.get("/reviews/?limit=2", headers=owner).json
    second = http.get(f"/reviews/?limit=2&cursor={first['next']}", headers=owner).json
    assert [item["text"] for item in first["items"] + second["items"]] == texts[::-1]
    assert second["next"] is None
    assert http.get("/reviews/", headers=bearer(reviews, uuid4())).json["items"] == []


def test_a_repeated_request_creates_nothing_new(create, http, owner):
    assert create(key="once") == create(key="once")
    assert len(http.get("/reviews/", headers=owner).json["items"]) == 1


@pytest.mark.parametrize(("body", "status"), [({"text": ""}, 422), ({}, 422), ({"text": "x", "other": 1}, 422)])
def test_an_invalid_review_is_refused(http, owner, body, status):
    headers = owner | {"Idempotency-Key": "invalid"}
    assert http.post("/reviews/", json=body, headers=headers).status_code == status


def test_a_new_review_is_announced_and_then_published(create, http, owner, reviews, system):
    created = create()
    assert created["published_at"] is None
    messages = system(reviews)
    messages.drain()
    assert [sent.message() for sent in messages.sent] == [ReviewCreated(UUID(created["id"]), UUID(created["user_id"]))]
    assert http.get(f"/reviews/{created['id']}", headers=owner).json["published_at"] is not None


def test_a_deleted_review_is_gone_also_for_its_message(create, http, owner, reviews, system):
    url = f"/reviews/{create()['id']}"
    assert http.delete(url, headers=owner).status_code == 204
    messages = system(reviews)
    messages.drain()
    assert messages.dead_letters == []
    assert http.get(url, headers=owner).status_code == 404


def test_the_reviews_of_a_deleted_user_are_erased(create, http, reviews, system):
    created = create()
    messages = system(reviews)
    messages.deliver(reviews, Envelope.of(UserDeleted(UUID(created["user_id"])), "users"))
    messages.drain()
    staff = bearer(reviews, uuid4(), "staff")
    assert http.get(f"/reviews/{created['id']}", headers=staff).status_code == 404
    assert messages.dead_letters == []
