import threading
import uuid

import pytest

from chassis.run.testing import bearer
from services.users.settings import Settings

from .conftest import PASSWORD, person


def test_a_registration_answers_with_the_account_and_where_it_is(http, users):
    answer = http.post("/users/register", json=person())
    assert answer.status_code == 201
    account = answer.json
    assert answer.headers["Location"] == f"/users/{account['id']}"
    assert {name: account[name] for name in ("email", "username", "first_name", "last_name", "roles", "is_active")} == {
        "email": "ada@example.com",
        "username": "ada",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "roles": ["customer"],
        "is_active": True,
    }
    assert "password" not in answer.text
    seen = http.get(answer.headers["Location"], headers=bearer(users, uuid.UUID(account["id"])))
    assert seen.json == account


def test_names_may_be_left_out(http):
    answer = http.post("/users/register", json={"email": "a@example.com", "username": "abc", "password": PASSWORD})
    assert (answer.status_code, answer.json["first_name"], answer.json["last_name"]) == (201, None, None)


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
        ("password", "x" * 200),
        ("first_name", ""),
        ("first_name", "x" * 101),
        ("first_name", "Ada\r\nBcc: eve@example.com"),
        ("last_name", "\u0000"),
        ("roles", ["admin"]),
        ("is_active", False),
        ("id", str(uuid.uuid4())),
    ],
)
def test_an_invalid_field_is_refused_by_name(http, field, value):
    answer = http.post("/users/register", json=person(**{field: value}))
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    expected = field if value != "\u0000" else "body"
    assert [error["field"] for error in answer.json["errors"]] == [expected]
    assert PASSWORD not in answer.text


@pytest.mark.parametrize("field", ["email", "username", "password"])
def test_a_missing_field_is_named(http, field):
    body = person()
    del body[field]
    answer = http.post("/users/register", json=body)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    "text", ["Robert'); DROP TABLE users;--", "{{7*7}}", "<script>alert(1)</script>", '{"$ne": 1}', "Zoë 王"]
)
def test_text_is_kept_as_text(register, text):
    assert register(first_name=text)["first_name"] == text


def test_developers_may_use_test_domains_and_production_may_not(http):
    assert http.post("/users/register", json=person(email="ada@shop.test")).status_code == 201
    settings = Settings.current()
    Settings.use(**{**settings.model_dump(), "environment": "production"})
    try:
        answer = http.post("/users/register", json=person("bob", email="bob@shop.test"))
    finally:
        Settings.use(**settings.model_dump())
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "email")


@pytest.mark.parametrize(
    ("field", "value"), [("email", " ADA@EXAMPLE.com "), ("email", "ada@example.com"), ("username", "ADA")]
)
def test_what_another_account_has_is_refused_by_name_in_any_case(http, register, field, value):
    register()
    answer = http.post("/users/register", json=person("bob", **{field: value}))
    assert (answer.status_code, answer.json["type"]) == (409, "/problems/already-taken")
    assert answer.json["errors"] == [{"field": field, "message": "belongs to another account"}]


def test_a_refused_registration_leaves_nothing(http, register, users, system):
    register()
    http.post("/users/register", json=person("bob", email="ada@example.com"))
    told = system(users)
    told.drain()
    assert [envelope.data["username"] for envelope in told.sent if envelope.type == "user.registered"] == ["ada"]
    assert http.post("/users/register", json=person("bob")).status_code == 201


@pytest.mark.parametrize("shared", ["email", "username"])
def test_of_many_at_once_with_one_name_one_registers(client, users, shared):
    together = threading.Barrier(6)
    answers = []

    def race(number: int) -> None:
        body = person(f"racer{number}", **{shared: person("winner")[shared]})
        together.wait()
        answers.append(client(users).post("/users/register", json=body))

    threads = [threading.Thread(target=race, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    refused = [answer for answer in answers if answer.status_code == 409]
    assert {answer.json["errors"][0]["field"] for answer in refused} == {shared}


def test_a_retry_with_its_key_gets_the_first_answer(http, users, system):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first, second = (http.post("/users/register", json=person(), headers=key) for _ in range(2))
    assert (second.status_code, second.json) == (201, first.json)
    assert second.headers["Location"] == first.headers["Location"]
    told = system(users)
    told.drain()
    assert [envelope.type for envelope in told.sent] == ["user.registered", "user.email_verification_requested"]


def test_many_retries_at_once_open_one_account(client, users):
    key = {"Idempotency-Key": str(uuid.uuid4())}
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(client(users).post("/users/register", json=person(), headers=key))
        )
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(answer.status_code, answer.json["id"]) for answer in answers} == {(201, answers[0].json["id"])}
