"""Who may use the admin port."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from services.gateway.admin.app import create_admin
from tests.gateway.conftest import InThread

TOKEN = {"Kong-Admin-Token": "token-of-the-admin"}
SECRETS = ["s-jwt", "s-key", "s-password", "s-redis", "s-header", "s-endpoint"]
FILE = """
consumers:
- username: mina
  jwt_secrets: [{key: j1, secret: s-jwt}]
  keyauth_credentials: [{key: s-key}]
  basicauth_credentials: [{username: mina, password: s-password}]
plugins:
- {name: rate-limiting, config: {minute: 1, policy: redis, redis: {host: r.test, username: u, password: s-redis}}}
- {name: http-log, config: {http_endpoint: "http://x:s-endpoint@127.0.0.1:1/", headers: {Authorization: s-header}}}
"""


@pytest.fixture(scope="module")
def guarded() -> Iterator[InThread]:
    edge = InThread(admin_token=TOKEN["Kong-Admin-Token"], admin_names=["edge.internal"])
    yield edge
    edge.stop()


@pytest.fixture
def admin(guarded: InThread) -> FlaskClient:
    guarded.load(FILE)
    return create_admin(guarded.runtime, {}).test_client()


PATHS = [
    "/config",
    "/plugins",
    "/jwts",
    "/jwts/j1",
    "/key-auths",
    "/key-auths/s-key",
    "/basic-auths",
    "/consumers",
    "/consumers/mina/jwt",
    "/consumers/mina/key-auth",
    "/consumers/mina/basic-auth",
]


@pytest.mark.parametrize("headers", [{}, {"Kong-Admin-Token": "guessed"}])
@pytest.mark.parametrize("path", PATHS)
def test_secrets_are_blank_without_the_token(admin: FlaskClient, path: str, headers: dict[str, str]) -> None:
    reply = admin.get(path, headers=headers)
    assert reply.status_code == 200
    assert not [secret for secret in SECRETS if secret in reply.text]


def test_the_token_shows_secrets(admin: FlaskClient) -> None:
    text = "".join(admin.get(path, headers=TOKEN).text for path in PATHS)
    assert [secret for secret in SECRETS if secret not in text] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/config"), ("POST", "/services"), ("DELETE", "/services/s"), ("PUT", "/upstreams/u/targets/t/healthy")],
)
def test_writes_need_the_token(admin: FlaskClient, guarded: InThread, method: str, path: str) -> None:
    before = guarded.gateway.edge
    for headers in ({}, {"Kong-Admin-Token": "guessed"}):
        assert (
            admin.open(path, method=method, json={"config": '_format_version: "3.0"'}, headers=headers).status_code
            == 401
        )
    assert guarded.gateway.edge is before
    assert admin.open(path, method=method, json={"config": '_format_version: "3.0"'}, headers=TOKEN).status_code != 401


@pytest.mark.parametrize("host", ["evil.test", "evil.test:8001", "127.0.0.1.evil.test", "localhost.evil.test", ""])
def test_web_pages_cannot_reach_it_by_a_name_of_theirs(admin: FlaskClient, host: str) -> None:
    for path in ("/config", "/status", "/docs"):
        assert admin.get(path, headers={**TOKEN, "Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8001", "[::1]:8001", "10.0.0.7:8001", "edge.internal:8001"])
def test_its_own_names_and_addresses_reach_it(admin: FlaskClient, host: str) -> None:
    assert admin.get("/status", headers={"Host": host}).status_code == 200


def test_web_pages_cannot_change_anything_even_with_the_token(admin: FlaskClient) -> None:
    assert admin.post("/config", json={}, headers={**TOKEN, "Origin": "http://evil.test"}).status_code == 403
