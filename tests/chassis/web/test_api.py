"""The HTTP edge, through a small service: validation, authorization, errors, idempotency, one transaction per request."""

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import jwt
import pytest
from flask.testing import FlaskClient
from pydantic import Field
from sqlalchemy import text

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.base.problems import Conflict, NotFound
from chassis.base.settings import Settings
from chassis.run import web_app
from chassis.run.service import Service
from chassis.run.testing import bearer
from chassis.security import auth
from chassis.storage import outbox, postgres
from chassis.storage.postgres_store import PostgresStore
from chassis.web.api import Body, Query, Resource, View, endpoint
from contracts.users import UserDeleted
from tests import documented
from tests.chassis.support import chassis_service


class NewNote(Body):
    words: str = Field(min_length=1, max_length=50)
    stars: int = Field(default=1, ge=1, le=5)


class NoteQuery(Query):
    limit: int = Field(default=10, ge=1, le=100)


class NoteView(View):
    id: UUID
    words: str
    hint: str = ""


class Notes(Resource):
    @endpoint(allow=auth.CUSTOMER, status=201, location="/notes/{id}", idempotency="optional")
    def post(self, body: NewNote) -> NoteView:
        """Keep a note: a row, and a message about it."""
        note_id = uuid4()
        if body.words == "unique":
            postgres.session().execute(text("LOCK TABLE notes"))
            if postgres.session().execute(text("SELECT 1 FROM notes WHERE words = 'unique'")).first():
                raise Conflict("These words are taken.")
        postgres.session().execute(text("INSERT INTO notes VALUES (:id, :words)"), {"id": note_id, "words": body.words})
        outbox.emit(UserDeleted(note_id))
        if body.words == "explode":
            raise RuntimeError("a bug")
        if body.words == "refuse":
            raise Conflict("These words are taken.", words=body.words)
        return NoteView(id=note_id, words=body.words)

    @endpoint(allow=auth.ANYONE)
    def get(self, query: NoteQuery) -> NoteView:
        return NoteView(id=UUID(int=0), words=f"at most {query.limit}")


def prepare(body: NewNote) -> str:
    if body.words in SOLD_OUT:
        raise Conflict("It cannot be prepared today.")
    with pytest.raises(RuntimeError, match="No transaction is open"):
        postgres.session()
    return f"{body.words} prepared"


SOLD_OUT: set[str] = set()


class Prepared(Resource):
    @endpoint(allow=auth.STAFF, idempotency="required", before=prepare)
    def post(self, body: NewNote, prepared: str) -> NoteView:
        return NoteView(id=UUID(int=0), words=body.words, hint=prepared)

    @endpoint(allow=auth.service("orders"))
    def get(self) -> NoteView:
        return NoteView(id=UUID(int=0), words=str(auth.caller().service))


class Owned(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID) -> NoteView:
        if not auth.caller().owns(user_id):
            raise NotFound("You have no such note.")
        return NoteView(id=user_id, words="yours")

    @endpoint(allow=auth.CUSTOMER, status=201, idempotency="required")
    def post(self, user_id: UUID, body: NewNote) -> NoteView:
        return NoteView(id=user_id, words=body.words)

    @endpoint(allow=auth.OWNER)
    def put(self, user_id: UUID) -> NoteView:
        postgres.session().execute(text("INSERT INTO notes VALUES (:id, 'anybody')"), {"id": user_id})
        return NoteView(id=user_id, words="unchecked")


@pytest.fixture(scope="module")
def service(make_database: Callable[[str], str]) -> Service:
    return chassis_service(
        "notes",
        make_database,
        {"/notes/": Notes, "/prepared": Prepared, "/notes/<uuid:user_id>": Owned},
        "CREATE TABLE notes (id uuid, words text)",
    )


@pytest.fixture
def notes(service: Service) -> Iterator[FlaskClient]:
    yield documented.watch(web_app.build(service)).test_client()
    with database(service).engine.begin() as connection:
        connection.execute(text("TRUNCATE notes, outbox, idempotency"))


def database(service: Service) -> postgres.Database:
    assert isinstance(service.store, PostgresStore)
    return service.store


def count(service: Service, table: str) -> int:
    with database(service).engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


ME = UUID(int=7)


def test_a_request_commits_its_work_together_with_its_message(service: Service, notes: FlaskClient) -> None:
    response = notes.post("/notes/", json={"words": "hello"}, headers=bearer(service, ME))
    assert response.status_code == 201
    assert response.headers["Location"] == f"/notes/{response.json['id']}"
    assert (count(service, "notes"), count(service, "outbox")) == (1, 1)


@pytest.mark.parametrize(("words", "status"), [("explode", 500), ("refuse", 409)])
def test_a_failed_request_leaves_nothing(service: Service, notes: FlaskClient, words: str, status: int) -> None:
    response = notes.post("/notes/", json={"words": words}, headers=bearer(service, ME))
    assert response.status_code == status
    assert response.content_type == "application/problem+json"
    assert "Traceback" not in response.text
    assert (count(service, "notes"), count(service, "outbox")) == (0, 0)


@pytest.mark.parametrize(
    ("body", "content_type", "status", "field"),
    [
        ("{", "application/json", 400, None),
        ('{"words": "a"}', "text/plain", 415, None),
        ("[]", "application/json", 422, "body"),
        ('{"words": 5}', "application/json", 422, "words"),
        ('{"words": ""}', "application/json", 422, "words"),
        ('{"words": "' + "a" * 51 + '"}', "application/json", 422, "words"),
        ('{"stars": 3}', "application/json", 422, "words"),
        ('{"words": "a", "stars": "3"}', "application/json", 422, "stars"),
        ('{"words": "a", "stars": 6}', "application/json", 422, "stars"),
        ('{"words": "a", "stars": NaN}', "application/json", 422, "stars"),
        ('{"words": "a", "colour": "red"}', "application/json", 422, "colour"),
        ('{"words": "a\\u0000"}', "application/json", 422, "body"),
        ('{"words": "a", "more": [{"a\\u0000": 1}]}', "application/json", 422, "body"),
        ('{"words": "\\u0000', "application/json", 400, None),
        ('{"words": "\\u0000", "more": ' + "[" * 3_000 + "]" * 3_000 + "}", "application/json", 400, None),
        ('{"words": "' + "a" * 1_000_001 + '"}', "application/json", 413, None),
        (b"\xff\xfe", "application/json", 400, None),
    ],
)
def test_an_invalid_body_is_rejected_and_its_field_named(
    service: Service, notes: FlaskClient, body: str | bytes, content_type: str, status: int, field: str | None
) -> None:
    response = notes.post("/notes/", data=body, content_type=content_type, headers=bearer(service, ME))
    problem = json.loads(response.data)
    assert (response.status_code, problem["status"]) == (status, status)
    assert response.content_type == "application/problem+json"
    assert [wrong["field"] for wrong in problem.get("errors", [])] == ([field] if field else [])
    assert count(service, "notes") == 0


@pytest.mark.parametrize(
    ("query", "field"), [("limit=0", "limit"), ("limit=x", "limit"), ("size=1", "size"), ("limit=%00", "limit")]
)
def test_an_invalid_query_is_rejected_and_its_field_named(notes: FlaskClient, query: str, field: str) -> None:
    response = notes.get(f"/notes/?{query}")
    assert response.status_code == 422
    assert response.json["errors"][0]["field"] == field


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/notes/", 405)])
def test_unknown_paths_and_methods_are_problems(notes: FlaskClient, method: str, path: str, status: int) -> None:
    response = notes.open(path, method=method)
    assert (response.status_code, response.content_type) == (status, "application/problem+json")


def forged(service: Service, **changes: object) -> str:
    claims: dict[str, object] = {
        "iss": "souk-users", "aud": "souk", "sub": str(ME), "roles": ["staff"], "jti": "1",
        "iat": clock.now(), "exp": clock.now() + timedelta(minutes=5), **changes,
    }  # fmt: skip
    key = service.settings.jwt_keys["test"].get_secret_value()
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm="HS256", headers={"kid": "test"})


def bad_tokens(service: Service) -> dict[str, str]:
    whole = forged(service)
    return {
        "expired": forged(service, exp=clock.now() - LEEWAY - timedelta(seconds=1)),
        "another audience": forged(service, aud="elsewhere"),
        "another issuer": forged(service, iss="elsewhere"),
        "no user": forged(service, sub="not a uuid"),
        "no expiry": forged(service, exp=None),
        "no time of issue": forged(service, iat=None),
        "tampered": whole[:-4] + ("AAAA" if whole[-4:] != "AAAA" else "BBBB"),
        "unsigned": jwt.encode({"sub": str(ME)}, None, algorithm="none", headers={"kid": "test"}),
        "unknown key": jwt.encode({"sub": str(ME)}, "x" * 40, headers={"kid": "other"}),
        "nonsense": "nonsense",
        "after two spaces": f" {whole}",
        "before a tab": f"{whole}\t.",
    }


@pytest.mark.parametrize(
    "kind",
    [
        "expired",
        "another audience",
        "another issuer",
        "no user",
        "no expiry",
        "no time of issue",
        "tampered",
        "unsigned",
        "unknown key",
        "nonsense",
        "after two spaces",
        "before a tab",
    ],
)
def test_an_invalid_token_is_rejected(service: Service, notes: FlaskClient, kind: str) -> None:
    token = bad_tokens(service)[kind]
    response = notes.post("/notes/", json={"words": "a"}, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert "invalid_token" in response.headers["WWW-Authenticate"]


def test_a_route_admits_only_the_callers_it_names(service: Service, notes: FlaskClient) -> None:
    words = {"json": {"words": "a"}}
    anonymous = notes.post("/notes/", **words)
    assert (anonymous.status_code, anonymous.headers["WWW-Authenticate"]) == (401, "Bearer")
    token = bearer(service, ME)["Authorization"].removeprefix("Bearer ")
    for scheme in ("Basic", "Token"):
        assert notes.post("/notes/", headers={"Authorization": f"{scheme} {token}"}, **words).status_code == 401
    assert notes.post("/notes/", headers={"X-API-Key": "orders-key"}, **words).status_code == 403
    assert notes.post("/prepared", headers=bearer(service, ME), **words).status_code == 403
    for role in ("staff", "admin"):
        assert (
            notes.post("/prepared", headers=bearer(service, ME, role) | {"Idempotency-Key": role}, **words).status_code
            == 200
        )
    anonymous = notes.get("/prepared")
    assert (anonymous.status_code, anonymous.headers["WWW-Authenticate"]) == (401, "ApiKey")
    assert notes.get("/prepared", headers={"X-API-Key": "stolen"}).status_code == 401
    assert notes.get("/prepared", headers=bearer(service, ME, "admin")).status_code == 403
    assert notes.get("/prepared", headers={"X-API-Key": "orders-key"}).json["words"] == "orders"


def test_an_owner_route_checks_ownership(service: Service, notes: FlaskClient) -> None:
    assert notes.get(f"/notes/{ME}", headers=bearer(service, ME)).status_code == 200
    assert notes.get(f"/notes/{ME}", headers=bearer(service, uuid4(), "staff")).status_code == 200
    for other in (UUID(int=0), UUID(int=2**128 - 1)):
        assert notes.get(f"/notes/{ME}", headers=bearer(service, other)).status_code == 404


def test_an_owner_route_without_an_ownership_check_fails(service: Service, notes: FlaskClient) -> None:
    assert notes.get(f"/notes/{ME}", headers=bearer(service, ME)).status_code == 200
    assert notes.put(f"/notes/{ME}", headers=bearer(service, ME)).status_code == 500
    assert count(service, "notes") == 0


def test_a_method_without_an_endpoint_fails_at_start() -> None:
    class Open(Resource):
        def get(self) -> NoteView:
            return NoteView(id=UUID(int=0), words="")

    service = Service("open", Settings, lambda: {"/open": Open})
    service.settings = Settings(database_url="postgresql://nobody:x@127.0.0.1:1/none")
    with pytest.raises(TypeError, match="is not an endpoint"):
        web_app.build(service)


def test_preparation_runs_before_the_transaction(service: Service, notes: FlaskClient) -> None:
    headers = {**bearer(service, ME, "staff"), "Idempotency-Key": "k"}
    assert notes.post("/prepared", json={"words": "a"}, headers=headers).json["hint"] == "a prepared"


def test_a_repeated_request_is_answered_even_if_preparation_would_fail(service: Service, notes: FlaskClient) -> None:
    headers = {**bearer(service, ME, "staff"), "Idempotency-Key": "again"}
    first = notes.post("/prepared", json={"words": "a"}, headers=headers)
    SOLD_OUT.add("a")
    try:
        again = notes.post("/prepared", json={"words": "a"}, headers=headers)
        fresh = notes.post("/prepared", json={"words": "a"}, headers={**headers, "Idempotency-Key": "new"})
    finally:
        SOLD_OUT.clear()
    assert (again.status_code, again.data) == (200, first.data)
    assert fresh.status_code == 409


@pytest.mark.parametrize(("key", "status"), [(None, 400), ("", 400), ("k" * 129, 400), ("ü", 400), ("fine", 200)])
def test_a_required_idempotency_key_must_be_sent(
    service: Service, notes: FlaskClient, key: str | None, status: int
) -> None:
    headers = bearer(service, ME, "staff") | ({} if key is None else {"Idempotency-Key": key})
    assert notes.post("/prepared", json={"words": "a"}, headers=headers).status_code == status


def test_a_repeated_request_gets_the_first_response(service: Service, notes: FlaskClient) -> None:
    headers = bearer(service, ME) | {"Idempotency-Key": "one"}
    first = notes.post("/notes/", json={"words": "a"}, headers=headers)
    again = notes.post("/notes/", json={"words": "a"}, headers=headers)
    assert (again.status_code, again.data, again.headers["Location"]) == (201, first.data, first.headers["Location"])
    assert notes.post("/notes", json={"words": "a"}, headers=headers).data == first.data
    assert count(service, "notes") == 1
    other_body = notes.post("/notes/", json={"words": "b"}, headers=headers)
    assert (other_body.status_code, other_body.json["type"]) == (422, "/problems/idempotency-key-reused")
    somebody_else = notes.post(
        "/notes/", json={"words": "b"}, headers=bearer(service, uuid4()) | {"Idempotency-Key": "one"}
    )
    assert somebody_else.status_code == 201


def test_a_key_used_on_another_route_is_another_key(service: Service, notes: FlaskClient) -> None:
    headers = bearer(service, ME, "staff") | {"Idempotency-Key": "one"}
    prepared = notes.post("/prepared", json={"words": "a"}, headers=headers)
    kept = notes.post("/notes/", json={"words": "a"}, headers=headers)
    assert (prepared.status_code, kept.status_code) == (200, 201)
    assert (prepared.json["hint"], kept.json["hint"]) == ("a prepared", "")
    assert count(service, "notes") == 1


def test_a_key_used_on_another_path_of_its_route_is_another_key(service: Service, notes: FlaskClient) -> None:
    headers = bearer(service, ME) | {"Idempotency-Key": "one"}
    paths = [str(uuid4()) for _ in range(2)]
    kept = [notes.post(f"/notes/{each}", json={"words": "a"}, headers=headers).json["id"] for each in paths]
    assert kept == paths


def test_an_escaped_backslash_is_not_a_nul(service: Service, notes: FlaskClient) -> None:
    response = notes.post(
        "/notes/", data=r'{"words": "\\u0000"}', content_type="application/json", headers=bearer(service, ME)
    )
    assert (response.status_code, response.json["words"]) == (201, r"\u0000")


def test_an_open_route_ignores_an_expired_token(service: Service, notes: FlaskClient) -> None:
    token = bad_tokens(service)["expired"]
    assert notes.get("/notes/", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_the_record_holds_neither_key_nor_body(service: Service, notes: FlaskClient) -> None:
    headers = bearer(service, ME) | {"Idempotency-Key": "guess-me"}
    notes.post("/notes/", json={"words": "canary"}, headers=headers)
    with database(service).engine.connect() as connection:
        row = connection.execute(text("SELECT key_hash, request_hash FROM idempotency")).one()
    assert "guess-me" not in str(row)
    assert row.request_hash != hashlib.sha256(b'{"words": "canary"}').hexdigest()


def test_a_failed_request_does_not_use_up_its_key(service: Service, notes: FlaskClient) -> None:
    headers = bearer(service, ME) | {"Idempotency-Key": "free"}
    assert notes.post("/notes/", json={"words": "refuse"}, headers=headers).status_code == 409
    assert notes.post("/notes/", json={"words": "fine"}, headers=headers).status_code == 201


@pytest.mark.parametrize("words", ["once", "unique"])
def test_twenty_concurrent_requests_with_one_key_do_the_work_once(
    service: Service, notes: FlaskClient, words: str
) -> None:
    headers = bearer(service, ME) | {"Idempotency-Key": "many"}

    def send(_: int) -> bytes:
        return notes.application.test_client().post("/notes/", json={"words": words}, headers=headers).data

    with ThreadPoolExecutor(20) as pool:
        responses = set(pool.map(send, range(20)))
    assert [json.loads(response)["id"] for response in responses]
    assert len(responses) == count(service, "notes") == 1


def test_an_unchanged_response_is_not_sent_again(notes: FlaskClient) -> None:
    etag = notes.get("/notes/").headers["ETag"]
    assert notes.head("/notes/").headers["ETag"] == etag
    for condition in (etag, "*", f'"other", {etag}', etag.removeprefix("W/")):
        again = notes.get("/notes/", headers={"If-None-Match": condition})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    for condition in ('"other"', 'W/"other"', ""):
        again = notes.get("/notes/", headers={"If-None-Match": condition})
        assert (again.status_code, again.json["words"]) == (200, "at most 10")
    assert notes.get("/notes/?limit=5", headers={"If-None-Match": etag}).status_code == 200


def test_the_openapi_document_describes_requests_and_credentials(notes: FlaskClient) -> None:
    document = notes.get("/openapi.json").json
    post = document["paths"]["/notes/"]["post"]
    assert post["security"] == [{"user": []}]
    assert set(document["components"]["schemas"]) >= {"NewNote", "NoteView", "ProblemView"}
    assert any(parameter["name"] == "Idempotency-Key" for parameter in post["parameters"])
    assert document["paths"]["/prepared"]["get"]["security"] == [{"service": []}]


def test_the_openapi_document_says_who_may_call(notes: FlaskClient) -> None:
    paths = notes.get("/openapi.json").json["paths"]
    customers = ["admin", "customer", "staff"]
    assert paths["/notes/"]["get"]["x-souk-allow"] == {"anyone": True, "roles": [], "services": [], "owner": False}
    assert paths["/notes/"]["post"]["x-souk-allow"]["roles"] == customers
    assert paths["/prepared"]["get"]["x-souk-allow"]["services"] == ["orders"]
    assert paths["/notes/{user_id}"]["get"]["x-souk-allow"] == {
        "anyone": False, "roles": customers, "services": [], "owner": True,
    }  # fmt: skip


def test_the_openapi_document_lists_error_responses(notes: FlaskClient) -> None:
    paths = notes.get("/openapi.json").json["paths"]
    responses = paths["/notes/"]["post"]["responses"]
    assert sorted(responses) == ["201", "400", "401", "403", "409", "413", "415", "422", "503", "504"]
    assert list(responses["422"]["content"]) == ["application/problem+json"]
    assert list(responses["201"]["content"]) == ["application/json"]
    assert sorted(paths["/notes/{user_id}"]["get"]["responses"]) == [
        "200",
        "304",
        "400",
        "401",
        "403",
        "404",
        "503",
        "504",
    ]


@pytest.mark.parametrize("path", ["/notes/", "/nothing", "/notes/?limit=0", "/prepared", "/health/live", "/metrics"])
def test_every_response_has_the_security_headers(notes: FlaskClient, path: str) -> None:
    headers = notes.get(path).headers
    assert {name: headers[name] for name in web_app.SECURITY_HEADERS} == web_app.SECURITY_HEADERS


def test_health_and_metrics_respond(notes: FlaskClient) -> None:
    assert notes.get("/health/live").status_code == 200
    assert notes.get("/health/ready").json == {
        "status": "ready",
        "checks": {"database": "ok"},
        "in_flight": 0,
    }
    notes.get("/notes/")
    metrics = notes.get("/metrics").text
    assert 'url_rule="/notes/"' in metrics
    assert 'souk_ready{check="database"} 1.0' in metrics
    assert "/health/" not in metrics, "probes are not requests"
    assert 'souk_build_info{version="' in metrics
    assert 'le="0.2"' in metrics, "promised for requests"
    assert 'souk_database_query_seconds_bucket{le="0.05"}' in metrics, "promised for queries"


def test_an_unavailable_database_is_a_503_with_retry_after() -> None:
    settings = Settings(database_url="postgresql://nobody:x@127.0.0.1:1/none", jwt_keys={"test": "x" * 40})
    service = Service("unavailable", Settings, lambda: {"/notes/": Notes})
    service.settings = settings
    client = web_app.build(service).test_client()
    response = client.post("/notes/", json={"words": "a"}, headers=bearer(service, ME))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    ready = client.get("/health/ready")
    assert (ready.status_code, ready.json["checks"]["database"]) == (503, "OperationalError")


def test_a_compressed_body_is_unsupported(service: Service, notes: FlaskClient) -> None:
    headers = {**bearer(service, ME), "Content-Encoding": "gzip"}
    body = gzip.compress(b'{"words": "a"}')
    answer = notes.post("/notes/", data=body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "identity")
    headers["Content-Encoding"] = "identity"
    assert notes.post("/notes/", json={"words": "a"}, headers=headers).status_code == 201


@pytest.mark.parametrize("body", ['{"words": "a", "words": "b"}', '{"words": "a", "x": [{"y": 1, "\\u0079": 2}]}'])
def test_a_repeated_key_is_malformed(service: Service, notes: FlaskClient, body: str) -> None:
    answer = notes.post("/notes/", data=body, content_type="application/json", headers=bearer(service, ME))
    assert (answer.status_code, answer.json["title"]) == (400, "Malformed request")
    assert "is repeated" in answer.json["detail"]


def test_a_repeated_query_parameter_is_refused(notes: FlaskClient) -> None:
    answer = notes.get("/notes/?limit=5&limit=6")
    assert (answer.status_code, answer.json["errors"]) == (
        422,
        [{"field": "limit", "message": "must not be repeated"}],
    )


@pytest.mark.parametrize("limit", ["5%0A", "%205", "+5", "1_0", "5%20", "%D9%A5"])
def test_a_number_has_digits_only(notes: FlaskClient, limit: str) -> None:
    answer = notes.get(f"/notes/?limit={limit}")
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "limit")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("{}", "is required"),
        ('{"words": 5}', "must be a string"),
        ('{"words": ""}', "must not be empty"),
        ('{"words": "' + "a" * 51 + '"}', "must have at most 50 characters"),
        ('{"words": "a", "stars": 6}', "must be at most 5"),
        ('{"words": "a", "stars": null}', "must be an integer"),
        ('{"words": "a", "colour": "red"}', "is not a known field"),
        ('{"words": "4111 1111 1111 1111"}', "looks like a card number, which must never be sent here"),
    ],
)
def test_messages_are_our_own_sentences(service: Service, notes: FlaskClient, body: str, message: str) -> None:
    answer = notes.post("/notes/", data=body, content_type="application/json", headers=bearer(service, ME))
    assert [error["message"] for error in answer.json["errors"]] == [message]


def test_ten_errors_are_listed_and_the_others_counted(service: Service, notes: FlaskClient) -> None:
    body = {"words": "a", **{f"{number:05}" + "x" * 150: 1 for number in range(5_000)}}
    answer = notes.post("/notes/", json=body, headers=bearer(service, ME))
    assert (answer.status_code, len(answer.json["errors"]), answer.json["more_errors"]) == (422, 10, 4_990)
    assert answer.json["detail"].endswith("; and 4,990 more")
    assert len(answer.data) < 5_000
