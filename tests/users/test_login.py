from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest
from argon2 import extract_parameters
from prometheus_client import REGISTRY
from sqlalchemy import event

from chassis.base import clock
from chassis.base.settings import Settings as AnyServiceSettings
from chassis.run.testing import bearer
from chassis.security import tokens
from chassis.storage import postgres
from services.users import passwords
from services.users.models.user import User
from services.users.settings import Settings

from .conftest import PASSWORD


@pytest.fixture
def costlier():
    """Raises the cost of hashes for the rest of the test."""
    settings = Settings.current()

    def change() -> None:
        Settings.use(**{**settings.model_dump(), "argon2_passes": settings.argon2_passes + 1})

    yield change
    Settings.use(**settings.model_dump())


def stored_hash(users, user_id: str) -> str:
    with users.store.transaction():
        return postgres.session().get_one(User, UUID(user_id)).hashed_password


def test_a_login_returns_a_token_that_any_service_verifies(register, log_in, users):
    account = register()
    response = log_in()
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    token = response.json
    assert (token["token_type"], token["expires_in"], token["user_id"]) == ("Bearer", 900, account["id"])
    elsewhere = AnyServiceSettings(jwt_keys=users.settings.jwt_keys)
    caller = tokens.verify(token["access_token"], elsewhere)
    assert (caller.user_id, caller.roles) == (UUID(account["id"]), {"customer"})
    claims = jwt.decode(token["access_token"], options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 900
    assert jwt.get_unverified_header(token["access_token"])["kid"] == "test"


def test_the_address_is_case_insensitive(register, log_in):
    register(email="Ada.Lovelace@Example.com")
    assert log_in("ADA.lovelace@EXAMPLE.COM").status_code == 200


def test_equivalent_unicode_forms_of_a_password_match(register, log_in):
    register(password="na\u00efve caf\u00e9s")
    assert log_in(password="nai\u0308ve cafe\u0301s").status_code == 200


def told(response):
    """Without the id of the request's trace, which says nothing of the account."""
    return {name: value for name, value in response.json.items() if name != "trace_id"}


def test_unknown_address_and_wrong_password_get_the_same_response(register, log_in):
    register()
    wrong, unknown = log_in(password="wrong password"), log_in("eve@example.com")
    assert (wrong.status_code, unknown.status_code) == (401, 401)
    assert told(wrong) == told(unknown)
    assert wrong.headers["WWW-Authenticate"] == unknown.headers["WWW-Authenticate"] == "Bearer"
    assert wrong.json["type"] == "/problems/wrong-credentials"


def test_unknown_address_and_wrong_password_take_the_same_work(register, log_in, http, users):
    """Counts hashes and statements; `./souk bench login` measures the time."""
    closed = register("eve")
    http.delete(f"/users/{closed['id']}", headers=bearer(users, UUID(closed["id"])))
    account = register()
    log_in("nobody@example.com")  # the first one computes the decoy hash
    statements: list[str] = []
    event.listen(users.store.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    def done(email: str) -> tuple[float | None, list[str]]:
        statements.clear()
        before = REGISTRY.get_sample_value("souk_password_hash_seconds_count") or 0
        assert log_in(email, "wrong password").status_code == 401
        return (REGISTRY.get_sample_value("souk_password_hash_seconds_count") or 0) - before, [*statements]

    wrong, unknown, gone = done("ada@example.com"), done("nobody@example.com"), done("eve@example.com")
    assert wrong[0] == 1
    assert len(wrong[1]) > 1
    assert wrong == unknown == gone
    assert extract_parameters(passwords.decoy()) == extract_parameters(stored_hash(users, account["id"]))


def test_a_closed_account_cannot_log_in(register, log_in, http, users):
    account = register()
    headers = {"Authorization": f"Bearer {log_in().json['access_token']}"}
    refused = log_in(password="wrong password")
    assert http.delete(f"/users/{account['id']}", headers=headers).status_code == 204
    for email in ("ada@example.com", "eve@example.com"):
        assert (log_in(email).status_code, told(log_in(email))) == (401, told(refused))
    assert stored_hash(users, account["id"]) is None


def test_an_inactive_account_cannot_log_in(register, log_in, deactivate):
    deactivate(register()["id"])
    assert log_in().status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "ada@example.com"}, "password"),
        ({"email": "ada", "password": PASSWORD}, "email"),
        ({"email": "ada@example.com", "password": "x" * 201}, "password"),
        ({"email": "ada@example.com", "password": PASSWORD, "remember": True}, "remember"),
    ],
)
def test_an_invalid_login_is_refused_by_field(http, body, field):
    response = http.post("/users/login", json=body)
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, field)


def test_a_login_upgrades_the_hash_to_the_current_cost(register, log_in, users, costlier):
    account = register()
    costlier()
    before = stored_hash(users, account["id"])
    assert passwords.is_outdated(before)
    assert log_in(password="wrong password").status_code == 401
    assert stored_hash(users, account["id"]) == before
    assert log_in().status_code == 200
    assert not passwords.is_outdated(stored_hash(users, account["id"]))
    assert log_in().status_code == 200


def test_a_rehash_does_not_undo_a_password_change(register, users):
    account = register()
    with users.store.transaction():
        read_at_login = postgres.session().get_one(User, UUID(account["id"]))
    with users.store.transaction():
        postgres.session().get_one(User, UUID(account["id"])).hashed_password = "changed meanwhile"
    with users.store.transaction():
        read_at_login.rehash("the old password at a new cost")
    assert stored_hash(users, account["id"]) == "changed meanwhile"


def forged(users, user_id: str, key: str = "", algorithm: str = "HS256", **changes) -> str:
    """A valid token with `changes`; claims that are None are left out."""
    now = clock.now()
    claims = {"iss": "souk-users", "aud": "souk", "sub": user_id, "roles": ["customer"], "jti": "1"}
    claims |= {"iat": now, "exp": now + timedelta(minutes=5), **changes}
    claims = {name: value for name, value in claims.items() if value is not None}
    secret = key or users.settings.jwt_keys["test"].get_secret_value()
    return jwt.encode(claims, secret if algorithm != "none" else None, algorithm=algorithm, headers={"kid": "test"})


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": datetime(2020, 1, 1, tzinfo=UTC)},
        {"exp": None},
        {"aud": "another"},
        {"aud": None},
        {"iss": "another"},
        {"sub": "nobody"},
        {"algorithm": "none"},
        {"key": "another secret that is long enough!!!!"},
    ],
    ids=str,
)
def test_a_forged_token_is_refused(register, http, users, changes):
    account = register()

    def me(token: str):
        return http.get("/users/me", headers={"Authorization": f"Bearer {token}"})

    assert me(forged(users, account["id"])).status_code == 200
    response = me(forged(users, account["id"], **changes))
    assert (response.status_code, response.content_type) == (401, "application/problem+json")
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_the_published_keys_verify_tokens_signed_by_a_key_pair(register, log_in, http):
    from tests.chassis.security.test_keys import ED25519, RSA, pem

    settings = Settings.current()
    register()
    try:
        for key_id, private in (("ed", pem(ED25519)), ("rsa", pem(RSA))):
            Settings.use(**{**settings.model_dump(), "jwt_keys": {key_id: private}})
            token = log_in().json["access_token"]
            (key,) = http.get("/users/.well-known/jwks.json").json["keys"]
            claims = jwt.decode(token, jwt.PyJWK(key), algorithms=["RS256", "EdDSA"], audience="souk")
            assert (key["kid"], claims["iss"]) == (key_id, "souk-users")
    finally:
        Settings.use(**settings.model_dump())


def test_a_tampered_token_is_refused(register, log_in, http):
    register()
    head, _, signature = log_in().json["access_token"].split(".")
    claims = jwt.utils.base64url_encode(b'{"sub": "eve", "roles": ["admin"]}').decode()
    response = http.get("/users/me", headers={"Authorization": f"Bearer {head}.{claims}.{signature}"})
    assert response.status_code == 401


def test_a_token_is_required(http):
    for path in ("/users/me", "/users/", "/users/7d3c1f0a-5b0e-4c2e-9a3a-0a4d2a5f1b11"):
        response = http.get(path)
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
