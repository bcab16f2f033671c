"""Roles, preferences and the audit trail."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest

from chassis.run.testing import bearer
from chassis.security import revocations
from contracts.users import UserPreferencesUpdated


@pytest.fixture
def ada(register, users):
    account = register()
    return account, bearer(users, UUID(account["id"]))


@pytest.fixture
def admin(register, users, make_staff):
    """Grace, an admin: her id and request headers."""
    account = register("grace")
    make_staff("grace@example.com", "admin")
    return account["id"], bearer(users, UUID(account["id"]), "customer", "admin")


def put_roles(http, user_id, roles, headers):
    return http.put(f"/users/{user_id}/roles", json={"roles": roles}, headers=headers)


def test_a_new_role_revokes_the_old_token(http, ada, admin, log_in, users):
    account, _ = ada
    session = log_in().json
    response = put_roles(http, account["id"], ["staff", "customer"], admin[1])
    assert (response.status_code, response.json["roles"]) == (200, ["customer", "staff"])
    revocations._cache.clear()
    old = {"Authorization": f"Bearer {session['access_token']}"}
    assert http.get("/users/me", headers=old).status_code == 401
    fresh = http.post("/users/token/refresh", json={"refresh_token": session["refresh_token"]}).json
    assert http.get("/users/", headers={"Authorization": f"Bearer {fresh['access_token']}"}).status_code == 200


def test_a_new_role_revokes_nobody_elses_token(http, admin, register, log_in):
    people = sorted((register(name) for name in ("ada", "alan", "edsger")), key=lambda account: account["id"])
    tokens = [log_in(f"{account['username']}@example.com").json["access_token"] for account in people]
    put_roles(http, people[1]["id"], ["staff", "customer"], admin[1])
    revocations._cache.clear()
    seen = [http.get("/users/me", headers={"Authorization": f"Bearer {token}"}).status_code for token in tokens]
    assert seen == [200, 401, 200]


@pytest.mark.parametrize("role", ["customer", "staff"])
def test_only_admins_assign_roles(http, ada, users, role):
    account, _ = ada
    own = bearer(users, UUID(account["id"]), role)
    assert put_roles(http, account["id"], ["admin"], own).status_code == 403


def test_an_admin_may_do_what_staff_may(http, users):
    assert http.get("/users/", headers=bearer(users, uuid4(), "admin")).status_code == 200


@pytest.mark.parametrize("roles", [[], ["king"], ["admin"] * 4, "admin", None])
def test_invalid_roles_are_refused(http, ada, admin, roles):
    response = put_roles(http, ada[0]["id"], roles, admin[1])
    assert (response.status_code, response.json["errors"][0]["field"].partition(".")[0]) == (422, "roles")


def test_the_last_admin_cannot_be_removed(http, admin):
    response = put_roles(http, admin[0], ["customer"], admin[1])
    assert (response.status_code, response.json["type"]) == (409, "/problems/last-admin")


def test_of_two_admins_who_demote_each_other_at_once_one_remains(client, http, ada, admin, users):
    account, _ = ada
    put_roles(http, account["id"], ["admin"], admin[1])
    headers = {account["id"]: admin[1], admin[0]: bearer(users, UUID(account["id"]), "admin")}
    with ThreadPoolExecutor(2) as pool:
        responses = list(
            pool.map(lambda user_id: put_roles(client(users), user_id, ["customer"], headers[user_id]), headers)
        )
    assert sorted(response.status_code for response in responses) == [200, 409]


def test_a_closed_account_cannot_be_given_roles(http, ada, admin):
    account, headers = ada
    http.delete(f"/users/{account['id']}", headers=headers)
    assert put_roles(http, account["id"], ["staff"], admin[1]).status_code == 409


def test_the_audit_trail_records_events_without_secrets(http, ada, admin, log_in):
    account, headers = ada
    log_in(password="a wrong password")
    log_in()
    put_roles(http, account["id"], ["staff"], admin[1])
    url = f"/users/{account['id']}/security-events"
    events = http.get(url, headers=headers).json["items"]
    assert [event["kind"] for event in events] == ["roles.changed", "login", "login.failed", "registered"]
    assert events[0]["details"] == {"before": ["customer"], "after": ["staff"]}
    assert (events[0]["actor_id"], events[0]["user_id"]) == (admin[0], account["id"])
    assert {event["address"] for event in events} == {"127.0.0.1"}
    assert "wrong password" not in str(events)


def test_owners_read_their_own_audit_trail_and_admins_the_whole(http, ada, admin, users):
    account, headers = ada
    url = f"/users/{account['id']}/security-events"
    assert http.get(url, headers=bearer(users, uuid4())).status_code == 404
    assert http.get("/users/security-events", headers=headers).status_code == 403
    assert http.get("/users/security-events", headers=bearer(users, uuid4(), "staff")).status_code == 403
    first = http.get("/users/security-events", query_string={"limit": 1}, headers=admin[1]).json
    assert (first["items"][0]["kind"], first["items"][0]["details"]) == (
        "roles.changed", {"granted": "admin", "by": "operator"},
    )  # fmt: skip
    rest = http.get("/users/security-events", query_string={"cursor": first["next"]}, headers=admin[1]).json
    assert [event["kind"] for event in rest["items"]] == ["registered", "registered"]


def preferences(http, account, headers, **changes):
    return http.put(f"/users/{account['id']}/preferences", json=changes, headers=headers)


def test_the_default_preferences_consent_to_nothing(http, ada):
    account, headers = ada
    assert http.get(f"/users/{account['id']}/preferences", headers=headers).json == {
        "locale": "en",
        "currency": "EUR",
        "time_zone": "UTC",
        "marketing_consent": False,
        "marketing_consent_at": None,
        "notify_by": ["email"],
        "is_public": False,
    }


def test_preferences_are_stored_and_published(http, ada, users, system):
    account, headers = ada
    wanted = {"locale": "de-AT", "currency": "CHF", "time_zone": "Europe/Vienna", "marketing_consent": True}
    response = preferences(http, account, headers, **wanted, notify_by=["email", "sms"], is_public=True)
    assert response.status_code == 200
    assert {name: response.json[name] for name in wanted} == wanted
    assert response.json["marketing_consent_at"] is not None
    assert http.get(f"/users/{account['id']}/preferences", headers=headers).json == response.json
    relayed = system(users)
    relayed.drain()
    assert relayed.sent[-1].message() == UserPreferencesUpdated(
        UUID(account["id"]), "de-AT", "Europe/Vienna", "CHF", True
    )
    preferences(http, account, headers, **wanted, notify_by=["email", "sms"], is_public=True)
    before = len(relayed.sent)
    relayed.drain()
    assert len(relayed.sent) == before
    assert preferences(http, account, headers).json["marketing_consent_at"] is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("locale", "deutsch"),
        ("currency", "euro"),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", "../../etc/passwd"),
        ("time_zone", "/etc/localtime"),
        ("time_zone", "Europe"),
        ("marketing_consent", "yes"),
        ("notify_by", ["pigeon"]),
        ("notify_by", ["email"] * 4),
        ("theme", "dark"),
    ],
)
def test_an_invalid_preference_is_refused_by_field(http, ada, field, value):
    account, headers = ada
    response = preferences(http, account, headers, **{field: value})
    assert (response.status_code, response.json["errors"][0]["field"].partition(".")[0]) == (422, field)


def test_preferences_are_accessible_to_their_owner_and_to_staff(http, ada, users):
    account, headers = ada
    assert preferences(http, account, bearer(users, uuid4())).status_code == 404
    assert http.get(f"/users/{account['id']}/preferences", headers=bearer(users, uuid4())).status_code == 404
    assert preferences(http, account, bearer(users, uuid4(), "staff")).status_code == 200
    http.delete(f"/users/{account['id']}", headers=headers)
    assert preferences(http, account, headers).status_code == 404
    assert preferences(http, account, bearer(users, uuid4(), "staff")).status_code == 409
