from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from chassis.run.testing import bearer
from contracts.users import EmailVerificationRequested, RegistrationRepeated
from services.users.models.preferences import Preferences
from services.users.models.user import User

from .conftest import person


@pytest.fixture
def ada(register, users):
    """Ada's account, and the headers of her requests."""
    account = register()
    return account, bearer(users, UUID(account["id"]))


def profile(name: str = "ada", **changes):
    registered = person(name)
    del registered["password"]
    return registered | changes


def test_me_returns_the_callers_account(http, ada):
    account, headers = ada
    assert http.get("/users/me", headers=headers).json == account


def test_an_account_is_visible_to_its_owner_and_to_staff(http, ada, users):
    account, headers = ada
    url = f"/users/{account['id']}"
    assert http.get(url, headers=headers).status_code == 200
    assert http.get(url, headers=bearer(users, uuid4(), "staff")).status_code == 200


@pytest.mark.parametrize("method", ["get", "put", "delete"])
def test_another_users_account_looks_like_a_missing_one(http, ada, users, method):
    account, _ = ada
    other = bearer(users, uuid4())
    body = {"json": profile("eve")} if method == "put" else {}
    existing = http.open(f"/users/{account['id']}", method=method, headers=other, **body)
    missing = http.open(f"/users/{uuid4()}", method=method, headers=other, **body)
    assert (existing.status_code, missing.status_code) == (404, 404)
    assert existing.json["title"] == missing.json["title"]


def test_an_unchanged_account_is_a_304(http, ada):
    _, headers = ada
    etag = http.get("/users/me", headers=headers).headers["ETag"]
    assert http.get("/users/me", headers={**headers, "If-None-Match": etag}).status_code == 304


def test_a_put_replaces_the_whole_profile(http, ada):
    account, headers = ada
    body = {"email": "Countess@Example.com", "username": "countess"}
    response = http.put(f"/users/{account['id']}", json=body, headers=headers)
    assert response.status_code == 200
    changed = {name: response.json[name] for name in ("email", "username", "first_name", "last_name")}
    assert changed == {"email": "ada@example.com", "username": "countess", "first_name": None, "last_name": None}
    assert response.json["pending_email"] == "countess@example.com"
    assert response.json["updated_at"] > account["updated_at"]
    assert response.json["created_at"] == account["created_at"]
    assert http.get("/users/me", headers=headers).json == response.json


def test_an_owner_may_change_the_case_of_the_username(http, ada):
    account, headers = ada
    response = http.put(f"/users/{account['id']}", json=profile(username="ADA"), headers=headers)
    assert (response.status_code, response.json["username"]) == (200, "ADA")


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"roles": ["admin"]}, "roles"), ({"password": "a new password"}, "password"), ({"is_active": True}, "is_active")],
)
def test_a_profile_contains_neither_roles_nor_password(http, ada, changes, field):
    account, headers = ada
    response = http.put(f"/users/{account['id']}", json=profile(**changes), headers=headers)
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, field)


def test_a_profile_cannot_take_another_accounts_username(http, ada, register):
    account, headers = ada
    register("bob")
    response = http.put(f"/users/{account['id']}", json=profile(username="Bob"), headers=headers)
    assert (response.status_code, response.json["errors"][0]["field"]) == (409, "username")
    assert http.get("/users/me", headers=headers).json == account


def test_a_profile_with_a_taken_address_gets_the_response_of_a_free_one(http, ada, users, register, system):
    account, headers = ada
    bob = register("bob")
    relayed = system(users)
    relayed.drain()
    before = len(relayed.sent)
    seen = []
    for address in ("free@example.com", "bob@example.com"):
        response = http.put(f"/users/{account['id']}", json=profile(email=address.upper()), headers=headers)
        assert response.json.pop("pending_email") == address
        assert response.json.pop("updated_at")
        me = http.get("/users/me", headers=headers).json
        assert me.pop("pending_email") == address
        again = http.post("/users/email/verification", headers=headers)
        seen.append((response.status_code, response.json["email"], me.keys(), again.status_code, again.data))
    assert seen[0] == seen[1] == (200, "ada@example.com", account.keys() - {"pending_email"}, 202, b"")
    relayed.drain()
    messages = [each.message() for each in relayed.sent[before:]]
    assert [type(message) for message in messages] == [EmailVerificationRequested] * 2 + [RegistrationRepeated]
    assert messages[-1] == RegistrationRepeated(UUID(bob["id"]))


def test_a_pending_address_is_dropped_with_the_current_one(http, ada):
    account, headers = ada
    for address, pending in (("countess@example.com", "countess@example.com"), ("ada@example.com", None)):
        response = http.put(f"/users/{account['id']}", json=profile(email=address), headers=headers)
        assert (response.json["email"], response.json["pending_email"]) == ("ada@example.com", pending)


def test_a_closed_account_is_anonymous(http, ada, users):
    account, headers = ada
    url = f"/users/{account['id']}"
    response = http.delete(url, headers=headers)
    assert (response.status_code, response.data) == (204, b"")
    left = http.get(url, headers=bearer(users, uuid4(), "staff")).json
    assert left == {
        "id": account["id"],
        "email": f"{account['id']}@deleted.invalid",
        "pending_email": None,
        "username": f"deleted:{account['id']}",
        "first_name": None,
        "last_name": None,
        "roles": ["customer"],
        "is_active": False,
        "email_verified": False,
        "created_at": account["created_at"],
        "updated_at": left["updated_at"],
    }


def test_no_password_search_term_or_preference_of_a_closed_account_is_kept(http, ada, users):
    account, headers = ada
    url = f"/users/{account['id']}"
    wishes = {"locale": "de-AT", "marketing_consent": True, "is_public": True}
    assert http.put(f"{url}/preferences", json=wishes, headers=headers).status_code == 200
    http.delete(url, headers=headers)
    with users.store.engine.connect() as connection:
        kept = select(User.hashed_password, User.first_last, User.last_first, User.is_public)
        assert connection.execute(kept).all() == [(None, "", "", False)]
        assert connection.execute(select(Preferences.user_id)).all() == []


def test_closing_an_account_erases_the_address_that_was_pending(http, ada, users):
    account, headers = ada
    url = f"/users/{account['id']}"
    http.put(url, json=profile(email="countess@example.com"), headers=headers)
    http.delete(url, headers=headers)
    assert http.get(url, headers=bearer(users, uuid4(), "staff")).json["pending_email"] is None


def test_a_closed_account_is_a_404_for_its_owner_and_can_be_closed_again(http, ada):
    account, headers = ada
    url = f"/users/{account['id']}"
    for _ in range(2):
        assert http.delete(url, headers=headers).status_code == 204
    assert http.get(url, headers=headers).status_code == 404
    assert http.get("/users/me", headers=headers).status_code == 404
    assert http.put(url, json=profile(), headers=headers).status_code == 404


def test_a_closed_account_cannot_be_changed(http, ada, users):
    account, headers = ada
    url = f"/users/{account['id']}"
    http.delete(url, headers=headers)
    for path, body in ((url, profile()), (f"{url}/preferences", {})):
        response = http.put(path, json=body, headers=bearer(users, uuid4(), "staff"))
        assert (response.status_code, response.json["type"]) == (409, "/problems/account-closed")


def test_the_names_of_a_closed_account_can_be_registered_again(http, ada, register):
    account, headers = ada
    http.delete(f"/users/{account['id']}", headers=headers)
    assert register()["id"] != account["id"]


@pytest.mark.parametrize("method", ["put", "delete"])
@pytest.mark.parametrize(("role", "status"), [("staff", 403), ("admin", (200, 204))])
def test_only_admins_can_change_the_accounts_of_staff(http, ada, users, method, role, status, make_staff):
    account, _ = ada
    make_staff("ada@example.com", "staff")
    body = {"json": profile("grace")} if method == "put" else {}
    other = bearer(users, uuid4(), role)
    response = http.open(f"/users/{account['id']}", method=method, headers=other, **body)
    assert response.status_code == (status if role == "staff" else status[method == "delete"])


def test_staff_can_change_and_close_a_customers_account_and_their_own(http, ada, register, users, make_staff):
    account, _ = ada
    grace = register("grace")
    make_staff("grace@example.com", "staff")
    headers = bearer(users, UUID(grace["id"]), "customer", "staff")
    assert http.put(f"/users/{account['id']}", json=profile("lady"), headers=headers).status_code == 200
    assert http.delete(f"/users/{account['id']}", headers=headers).status_code == 204
    assert http.delete(f"/users/{grace['id']}", headers=headers).status_code == 204


def test_customers_cannot_list_accounts(http, ada):
    assert http.get("/users/", headers=ada[1]).status_code == 403


def test_staff_page_through_all_accounts_newest_first(http, register, users):
    registered = [register(f"user{number}")["id"] for number in range(5)]
    staff = bearer(users, uuid4(), "staff")
    seen, cursor = [], None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = http.get("/users/", query_string=query, headers=staff).json
        seen += [user["id"] for user in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == registered[::-1]


@pytest.mark.parametrize(
    ("query", "field"), [("limit=0", "limit"), ("limit=101", "limit"), ("cursor=x", "cursor"), ("page=2", "page")]
)
def test_an_invalid_page_query_is_refused_by_name(http, users, query, field):
    response = http.get(f"/users/?{query}", headers=bearer(users, uuid4(), "staff"))
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, field)
