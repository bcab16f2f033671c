"""A generated service behind the edge: run by test_new_service.py in the copy of the repository that has the service."""

from collections.abc import Callable
from uuid import uuid4

from launcher.stack import Stack
from tests.installation import Person, new_staff, until


def test_a_user_creates_reviews_that_are_published_and_nobody_elses(stack: Stack, person: Callable[[], Person]) -> None:
    owner, other, staff = person(), person(), new_staff(stack)
    key = {"Idempotency-Key": uuid4().hex}
    created = owner.call("POST", "/reviews/", {"text": "Holds a litre."}, **key)
    assert owner.call("POST", "/reviews/", {"text": "Holds a litre."}, **key) == created
    assert [item["id"] for item in owner.call("GET", "/reviews/")["items"]] == [created["id"]]
    path = f"/reviews/{created['id']}"
    assert until(lambda: owner.call("GET", path)["published_at"])
    assert other.send("GET", path).status == 404
    assert other.call("GET", "/reviews/")["items"] == []
    assert Person(stack.gateway_url).send("GET", path).status == 401
    assert "/reviews/" in owner.call("GET", "/openapi.json")["paths"]
    owner.call("DELETE", f"/users/{owner.id}")
    until(lambda: staff.send("GET", path).status == 404)
