"""Section 9 of Kong's behaviour: access by address and user agent, size limits and terminations."""

from typing import Any

import pytest

from services.gateway.config.errors import InvalidConfiguration
from tests.gateway.conftest import InThread, Serve
from tests.gateway.documents import plugin, through
from tests.gateway.upstream import Upstream


@pytest.mark.parametrize(
    ("config", "status"),
    [
        ({"allow": ["127.0.0.1"]}, 200),
        ({"allow": ["127.0.0.0/8", "::1"]}, 200),
        ({"allow": ["10.0.0.0/8"]}, 403),
        ({"deny": ["127.0.0.1"]}, 403),
        ({"deny": ["10.0.0.0/8"]}, 200),
        ({"deny": ["127.0.0.1"], "allow": ["127.0.0.0/8"]}, 403),
        ({"deny": ["127.0.0.1"], "status": 404, "message": "no"}, 404),
    ],
)
def test_addresses_are_allowed_or_denied(serve: Serve, config: dict[str, Any], status: int) -> None:
    reply = serve(through(plugin("ip-restriction", **config))).get("/")
    assert reply.status == status
    if status != 200:
        assert reply.message == config.get("message", "IP address not allowed: 127.0.0.1")


@pytest.mark.parametrize(
    ("agent", "status"),
    [
        ("curl/8.5", 200),
        ("Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0", 200),
        ("Mozilla/5.0 (Linux; Android 9; CUBOT X19)", 200),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", 403),
        ("Scrapy/2.11", 403),
        ("facebookexternalhit/1.1", 403),
        ("Python-urllib/3.11", 403),
    ],
)
def test_robots_are_refused(serve: Serve, agent: str, status: int) -> None:
    reply = serve(through(plugin("bot-detection"))).get("/", {"User-Agent": agent})
    assert reply.status == status
    assert status == 200 or reply.message == "Forbidden"


def test_robots_can_be_allowed_and_clients_denied(serve: Serve) -> None:
    client = serve(through(plugin("bot-detection", allow=["Googlebot"], deny=["curl"])))
    assert client.get("/", {"User-Agent": "Googlebot/2.1"}).status == 200
    assert client.get("/", {"User-Agent": "curl/8.5"}).status == 403


def test_a_termination_may_wait_for_its_trigger(serve: Serve, upstream: Upstream) -> None:
    client = serve(through(plugin("request-termination", status_code=410, trigger="x-stop")))
    assert client.get("/").status == 200
    assert client.get("/", {"X-Stop": "1"}).status == 410
    assert client.get("/?x-stop=1").status == 410


@pytest.mark.parametrize(
    ("plugins", "error"),
    [
        ([plugin("ip-restriction")], "at least one of these fields must be non-empty: allow, deny"),
        ([plugin("ip-restriction", allow=["here"])], "config.allow[0]: invalid ip or cidr range: 'here'"),
        ([plugin("bot-detection", deny=["("])], "config.deny[0]: not a valid regex: ("),
    ],
)
def test_an_invalid_configuration_is_rejected(serve: Serve, plugins: list[dict[str, Any]], error: str) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        serve(through(*plugins))
    assert error in str(refused.value)


def test_a_trusted_proxy_reports_its_client(upstream: Upstream) -> None:
    edge = InThread(trusted_ips=["127.0.0.0/8"])
    document = f"services: [{{url: 'http://{upstream.address}', routes: [{{paths: [/]}}]}}]\n"
    restricted = "plugins: [{name: ip-restriction, config: {allow: [9.9.9.9]}}]"
    client = edge.load(document + restricted)
    headers = {"X-Real-IP": "9.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.test"}
    assert client.get("/", headers).status == 200
    seen = upstream.last
    assert (seen.header("X-Real-IP"), seen.header("X-Forwarded-For")) == ("9.9.9.9", "127.0.0.1")
    assert (seen.header("X-Forwarded-Proto"), seen.header("X-Forwarded-Host")) == ("https", "shop.test")
    assert seen.header("X-Forwarded-Path") == "/"
    assert client.get("/", {"X-Real-IP": "nonsense"}).message == "IP address not allowed: 127.0.0.1"
    assert client.get("/", {"X-Forwarded-For": "9.9.9.9"}).status == 403
    edge.stop()
