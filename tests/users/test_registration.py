import threading
import uuid

import pytest

from chassis.run.testing import bearer
from contracts.users import RegistrationRepeated
from services.users.settings import Settings
from tests.conftest import postgres_log

from .conftest import PASSWORD, person


def test_a_registration_returns_the_account_and_its_location(http, users):
    response = http.post("/users/register", json=person())
    assert response.status_code == 201
    account = response.json
    assert response.headers["Location"] == f"/users/{account['id']}"
    assert {name: account[name] for name in ("email", "username", "first_name", "last_name", "roles", "is_active")} == {
        "email": "ada@example.com",
        "username": "ada",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "roles": ["customer"],
        "is_active": True,
    }
    assert "password" not in response.text
    seen = http.get(response.headers["Location"], headers=bearer(users, uuid.UUID(account["id"])))
    assert seen.json == account


def test_names_are_optional(http):
    response = http.post("/users/register", json={"email": "a@example.com", "username": "abc", "password": PASSWORD})
    assert (response.status_code, response.json["first_name"], response.json["last_name"]) == (201, None, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "no address"),
        ("email", "Ada <ada@example.com>"),
        ("email", "ada@localhost"),
        ("email", "ada@deleted.invalid"),
        ("email", "x" * 65 + "@example.com"),
        ("email", "a@" + "example." * 40 + "com"),
        ("email", 1),
        ("email", None),
        ("username", "ab"),
        ("username", "x" * 101),
        ("username", "ada@example.com"),
        ("username", "deleted:1"),
        ("username", "аda"),  # noqa: RUF001 - the first letter is Cyrillic
        ("username", "ada\n"),
        ("password", "too short"),
        ("password", "x" * 201),
        ("password", "my name is ADA, hello"),
        ("password", "xx Ada@Example.com xx"),
        ("password", ["correct horse battery"]),
        ("password", "password1234"),
        ("password", "qwertyuiop123"),
        ("password", "aaaaaaaaaaaaaaaaaaaaaaaa"),
        ("password", "Ada Lovelace 1"),
        ("password", "Lovelace 1815"),
        ("password", "x" * 200),
        ("first_name", ""),
        ("first_name", "x" * 101),
        ("first_name", "Ada\r\nBcc: eve@example.com"),
        ("first_name", "Ada\u202eecalevoL"),
        ("last_name", "Love\u2028lace"),
        ("last_name", "Love\u0085lace"),
        ("last_name", "Love\u3164lace"),
        ("last_name", "Love\U000e0041lace"),
        ("last_name", "\u0301"),
        ("last_name", "Love\u200clace"),
        ("last_name", "Love\u200dlace"),
        ("last_name", "\u200dLovelace"),
        ("last_name", "Love\u200blace"),
        ("last_name", "Lovelace\ufeff"),
        ("last_name", "Love\u2066lace"),
        ("first_name", "https://evil.example"),
        ("first_name", "evil.example"),
        ("first_name", "Ada\u202eavE"),
        ("first_name", "Ada\u2028Eve"),
        ("first_name", "Ada\u0085Eve"),
        ("first_name", "Ada\nEve"),
        ("last_name", "<script>alert(1)</script>"),
        ("last_name", "{{7*7}}"),
        ("last_name", "\u0000"),
        ("roles", ["admin"]),
        ("is_active", False),
        ("id", str(uuid.UUID(int=1))),
    ],
)
def test_an_invalid_field_is_refused_by_name(http, field, value):
    response = http.post("/users/register", json=person(**{field: value}))
    assert response.status_code == 422
    assert response.content_type == "application/problem+json"
    expected = field if value != "\u0000" else "body"
    assert [error["field"] for error in response.json["errors"]] == [expected]
    assert PASSWORD not in response.text


@pytest.mark.parametrize("field", ["email", "username", "password"])
def test_a_missing_field_is_named(http, field):
    body = person()
    del body[field]
    response = http.post("/users/register", json=body)
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    "name", ["Zoë 王", "O'Brien-Smith", "J.R.R. Tolkien", "Jr.", "Lluís Companys i Jover", "स्मिता", "Amélie\u0301", "3"]
)
def test_a_name_may_be_written_in_any_script(register, name):
    assert register(first_name=name)["first_name"] == name


def test_test_domains_are_accepted_in_development_only(http):
    assert http.post("/users/register", json=person(email="ada@shop.test")).status_code == 201
    settings = Settings.current()
    Settings.use(**{**settings.model_dump(), "environment": "production"})
    try:
        response = http.post("/users/register", json=person("bob", email="bob@shop.test"))
    finally:
        Settings.use(**settings.model_dump())
    assert (response.status_code, response.json["errors"][0]["field"]) == (422, "email")


@pytest.mark.parametrize("changes", [{}, {"email": "ada@example.com"}])
def test_a_username_is_unique_in_any_case(http, register, changes):
    register()
    response = http.post("/users/register", json=person("bob", **changes, username="ADA"))
    assert (response.status_code, response.json["type"]) == (409, "/problems/already-taken")
    assert response.json["errors"] == [{"field": "username", "message": "belongs to another account"}]


@pytest.mark.parametrize("email", [" ADA@EXAMPLE.com ", "ada@example.com"])
def test_a_registration_does_not_reveal_whether_the_address_has_an_account(http, register, email):
    register()
    taken = http.post("/users/register", json=person("bob", email=email))
    free = http.post("/users/register", json=person("eve"))
    varying = {"id", "email", "username", "first_name", "created_at", "updated_at"}
    assert (taken.status_code, taken.json["email"], taken.json["username"]) == (201, "ada@example.com", "bob")
    assert taken.headers["Location"] == f"/users/{taken.json['id']}"
    assert [{**each.json, **dict.fromkeys(varying)} for each in (taken, free)] == [
        {**free.json, **dict.fromkeys(varying)}
    ] * 2
    assert set(taken.headers.keys()) == set(free.headers.keys())


def test_a_repeated_registration_changes_nothing_and_notifies_the_owner_once_a_day(
    http, register, log_in, users, system
):
    account = register()
    relayed = system(users)
    relayed.drain()
    before = len(relayed.sent)
    for name in ("bob", "eve"):
        http.post("/users/register", json=person(name, email="ada@example.com", password="another long phrase"))
    relayed.drain()
    assert [each.message() for each in relayed.sent[before:]] == [RegistrationRepeated(uuid.UUID(account["id"]))]
    assert log_in().status_code == 200
    assert log_in(password="another long phrase").status_code == 401
    headers = bearer(users, uuid.UUID(account["id"]))
    assert http.get("/users/me", headers=headers).json == account
    events = http.get(f"/users/{account['id']}/security-events", headers=headers).json["items"]
    assert [event["kind"] for event in events].count("registration.repeated") == 2


def test_a_taken_address_or_username_leaves_no_trace_in_the_databases_log(http, register, users):
    register(last_name="Canaryname")
    http.post("/users/register", json=person("bob", email="ada@example.com", last_name="Canaryname"))
    http.post("/users/register", json=person("bob", username="ada", last_name="Canaryname"))
    bob = register("bob")
    profile = {"email": "ada@example.com", "username": "ada", "last_name": "Canaryname"}
    http.put(f"/users/{bob['id']}", json=profile, headers=bearer(users, uuid.UUID(bob["id"])))
    log = postgres_log()
    assert "users_username_key" in log
    for secret in ("argon2", "Canaryname", "ada@example.com"):
        assert secret not in log


def test_a_refused_registration_leaves_no_trace(http, register, users, system):
    register()
    http.post("/users/register", json=person("bob", username="ada"))
    relayed = system(users)
    relayed.drain()
    assert [envelope.data["username"] for envelope in relayed.sent if envelope.type == "user.registered"] == ["ada"]
    assert http.post("/users/register", json=person("bob")).status_code == 201


@pytest.mark.parametrize("shared", ["email", "username"])
def test_of_concurrent_registrations_with_one_name_only_one_succeeds(client, users, shared, system):
    together = threading.Barrier(6)
    responses = []

    def race(number: int) -> None:
        body = person(f"racer{number}", **{shared: person("winner")[shared]})
        together.wait()
        responses.append(client(users).post("/users/register", json=body))

    threads = [threading.Thread(target=race, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [201] * 6 if shared == "email" else [201] + [409] * 5
    assert sorted(response.status_code for response in responses) == statuses
    relayed = system(users)
    relayed.drain()
    assert [envelope.type for envelope in relayed.sent].count("user.registered") == 1


def test_a_retry_with_its_idempotency_key_gets_the_first_response(http, users, system):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first, second = (http.post("/users/register", json=person(), headers=key) for _ in range(2))
    assert (second.status_code, second.json) == (201, first.json)
    assert second.headers["Location"] == first.headers["Location"]
    relayed = system(users)
    relayed.drain()
    assert [envelope.type for envelope in relayed.sent] == ["user.registered", "user.email_verification_requested"]


def test_two_people_may_happen_to_send_the_same_idempotency_key(http):
    responses = [
        http.post("/users/register", json=person(name), headers={"Idempotency-Key": "1"}) for name in ("ada", "grace")
    ]
    assert [each.status_code for each in responses] == [201, 201]
    assert responses[0].json["id"] != responses[1].json["id"]


def test_concurrent_retries_register_one_account(client, users):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    responses = []
    threads = [
        threading.Thread(
            target=lambda: responses.append(client(users).post("/users/register", json=person(), headers=key))
        )
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(response.status_code, response.json["id"]) for response in responses} == {(201, responses[0].json["id"])}


@pytest.mark.parametrize(
    "name",
    [
        "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627",  # Persian, with ZWNJ
        "नूर\u200cजहाँ",
        "ක්\u200dරිෂාන්",  # ZWJ in Sinhala
        "ക്\u200dലാര",
        "O'Brien-Smith",
        "Núñez y d\N{RIGHT SINGLE QUOTATION MARK}Arc",
        "マリー・アントワネット",
        "Nguyễn",
        "J.R.R.",
        "김민준",
    ],
)
def test_names_of_all_scripts_are_taken_as_written(http, name):
    response = http.post("/users/register", json=person(first_name=name))
    assert (response.status_code, response.json["first_name"]) == (201, name)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("password", "short", "must have at least 10 characters"),
        ("email", "ada", "is not an e-mail address: An email address must have an @-sign"),
    ],
)
def test_a_refusal_says_in_plain_words_what_is_wrong(http, field, value, message):
    assert http.post("/users/register", json=person(**{field: value})).json["errors"] == [
        {"field": field, "message": message}
    ]
