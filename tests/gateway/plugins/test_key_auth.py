"""Section 9 of Kong's behaviour: key-auth and acl."""

from typing import Any

import pytest

from services.gateway.config.errors import InvalidConfiguration
from tests.gateway.conftest import Serve
from tests.gateway.documents import plugin, through
from tests.gateway.upstream import Client, Upstream

PARTNER = {
    "username": "partner",
    "custom_id": "p-1",
    "keyauth_credentials": [{"id": "11111111-1111-4111-8111-111111111111", "key": "s3cret"}],
    "acls": [{"group": "machines"}, {"group": "eu"}],
}
OTHER = {"username": "other", "keyauth_credentials": [{"key": "other"}]}
GUEST = {"username": "guest"}


def guarded(serve: Serve, *more: dict[str, Any], **config: Any) -> Client:
    return serve(through(plugin("key-auth", **config), *more, consumers=[PARTNER, OTHER, GUEST]))


def test_a_key_identifies_its_consumer_to_the_upstream(serve: Serve, upstream: Upstream) -> None:
    assert guarded(serve).get("/", {"apikey": "s3cret"}).status == 200
    seen = upstream.last
    assert seen.header("X-Consumer-Username") == "partner"
    assert seen.header("X-Consumer-Custom-ID") == "p-1"
    assert seen.header("X-Credential-Identifier") == "11111111-1111-4111-8111-111111111111"
    assert seen.header("X-Anonymous-Consumer") is None
    assert seen.header("apikey") == "s3cret"


@pytest.mark.parametrize(("key", "username"), [("other", "other"), ("", "guest")])
def test_a_client_cannot_say_of_itself_what_its_consumer_lacks(
    serve: Serve, upstream: Upstream, key: str, username: str
) -> None:
    said = {"X-Consumer-Custom-ID": "p-1", "X-Credential-Identifier": "said", "X-Anonymous-Consumer": "said"}
    guarded(serve, anonymous="guest").get("/", {**said, **({"apikey": key} if key else {})})
    assert upstream.last.header("X-Consumer-Username") == username
    assert not {"p-1", "said"} & {value for _, value in upstream.last.headers}


@pytest.mark.parametrize(
    ("path", "headers", "message"),
    [
        ("/", {}, "No API key found in request"),
        ("/", {"apikey": ""}, "No API key found in request"),
        ("/?apikey=", {}, "No API key found in request"),
        ("/", {"apikey": "wrong"}, "Unauthorized"),
        ("/?apikey=s3cret&apikey=s3cret", {}, "Duplicate API key found"),
    ],
)
def test_without_a_valid_key_no_request_passes(
    serve: Serve, upstream: Upstream, path: str, headers: dict[str, str], message: str
) -> None:
    reply = guarded(serve).get(path, headers)
    assert (reply.status, reply.message, reply.header("WWW-Authenticate")) == (401, message, "Key")
    assert not upstream.seen


def test_the_challenge_names_the_realm(serve: Serve) -> None:
    assert guarded(serve, realm="shop").get("/").header("WWW-Authenticate") == 'Key realm="shop"'


def test_the_header_comes_first_then_the_query(serve: Serve) -> None:
    client = guarded(serve, key_names=["x-key", "k"])
    assert client.get("/?x-key=wrong", {"X-Key": "s3cret"}).status == 200
    assert client.get("/?k=s3cret").status == 200
    assert guarded(serve, key_in_query=False).get("/?apikey=s3cret").status == 401
    assert guarded(serve, key_in_header=False).get("/", {"apikey": "s3cret"}).status == 401


@pytest.mark.parametrize(
    ("content_type", "body", "hidden"),
    [
        ("application/json", b'{"apikey": "s3cret", "a": 1}', b'{"a":1}'),
        ("application/x-www-form-urlencoded", b"apikey=s3cret&a=1", b"a=1"),
    ],
)
def test_a_key_may_be_in_the_body(
    serve: Serve, upstream: Upstream, content_type: str, body: bytes, hidden: bytes
) -> None:
    headers = {"Content-Type": content_type}
    assert guarded(serve).post("/", body, headers).status == 401
    assert guarded(serve, key_in_body=True).post("/", body, headers).status == 200
    assert upstream.last.body == body
    assert guarded(serve, key_in_body=True, hide_credentials=True).post("/", body, headers).status == 200
    assert (upstream.last.body, upstream.last.header("Content-Length")) == (hidden, str(len(hidden)))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"apikey=a&apikey=b"])
def test_a_body_without_a_key_does_not_authenticate(serve: Serve, body: bytes) -> None:
    client = guarded(serve, key_in_body=True)
    for content_type in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        assert client.post("/", body, {"Content-Type": content_type}).status == 401


def test_a_hidden_key_does_not_reach_the_upstream(serve: Serve, upstream: Upstream) -> None:
    client = guarded(serve, hide_credentials=True)
    client.get("/?a=b%20c&apikey=s3cret")
    assert upstream.last.target == "/?a=b+c"
    client.get("/", {"apikey": "s3cret"})
    assert upstream.last.header("apikey") is None


def test_requests_without_a_key_are_the_anonymous_consumers(serve: Serve, upstream: Upstream) -> None:
    client = guarded(serve, anonymous="guest")
    assert client.get("/", {"apikey": "wrong", "X-Credential-Identifier": "me"}).status == 200
    seen = upstream.last
    assert (seen.header("X-Consumer-Username"), seen.header("X-Anonymous-Consumer")) == ("guest", "true")
    assert seen.header("X-Credential-Identifier") is None


def test_a_preflight_may_skip_authentication(serve: Serve) -> None:
    assert guarded(serve).send("OPTIONS", "/").status == 401
    assert guarded(serve, run_on_preflight=False).send("OPTIONS", "/").status == 200


@pytest.mark.parametrize(
    ("config", "key", "status", "groups"),
    [
        ({"allow": ["machines"]}, "s3cret", 200, "machines, eu"),
        ({"allow": ["machines"], "hide_groups_header": True}, "s3cret", 200, None),
        ({"allow": ["people"]}, "s3cret", 403, None),
        ({"allow": ["machines"]}, "other", 403, None),
        ({"deny": ["machines"]}, "s3cret", 403, None),
        ({"deny": ["machines"]}, "other", 200, None),
        ({"deny": ["people"]}, "s3cret", 200, "machines, eu"),
    ],
)
def test_groups_are_checked_after_the_key(
    serve: Serve, upstream: Upstream, config: dict[str, Any], key: str, status: int, groups: str | None
) -> None:
    reply = guarded(serve, plugin("acl", **config)).get("/", {"apikey": key, "X-Consumer-Groups": "machines"})
    assert reply.status == status
    if status == 403:
        assert reply.message == "You cannot consume this service"
        assert not upstream.seen
    else:
        assert upstream.last.header("X-Consumer-Groups") == groups


def test_an_unauthenticated_request_has_no_group(serve: Serve) -> None:
    acl = plugin("acl", allow=["machines"])
    reply = guarded(serve, acl, anonymous="guest").get("/")
    assert (reply.status, reply.message, reply.header("WWW-Authenticate")) == (401, "Unauthorized", None)
    assert serve(through(acl)).get("/").status == 401


@pytest.mark.parametrize(
    ("plugins", "error"),
    [
        ([plugin("acl")], "exactly one of these fields must be non-empty: allow, deny"),
        ([plugin("acl", allow=["a"], deny=["b"])], "exactly one of these fields"),
        ([plugin("key-auth", anonymous="gone")], "config.anonymous: no consumer named gone"),
        ([plugin("key-auth", key_names=[])], "config.key_names: "),
    ],
)
def test_an_invalid_configuration_is_rejected(serve: Serve, plugins: list[dict[str, Any]], error: str) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        serve(through(*plugins))
    assert error in str(refused.value)
