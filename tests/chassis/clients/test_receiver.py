"""Who receives our API key: nobody whom only an open catalogue vouches for."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from chassis.base.settings import Settings
from chassis.clients import Client, Refused
from tests.chassis.faulty import Faulty, faulty
from tests.consul import ConsulServer


@pytest.fixture
def fake() -> Iterator[Faulty]:
    """What another user of the machine has registered as products."""
    with faulty() as started:
        yield started


@pytest.fixture
def open_catalogue(consul: ConsulServer, fake: Faulty) -> dict[str, Any]:
    port = urlsplit(fake.url).port
    assert port is not None
    consul.register("products", "fake", port)
    return {"consul_url": consul.url, "api_key": "mine"}


def open_dns(fake: Faulty) -> dict[str, Any]:
    return {"discovery": "dns", "discovery_name": urlsplit(fake.url).netloc, "api_key": "mine"}


def test_a_key_is_not_sent_to_what_anybody_may_have_registered(open_catalogue: dict[str, Any], fake: Faulty) -> None:
    for settings in (Settings(**open_catalogue), Settings(**open_dns(fake))):
        with pytest.raises(Refused, match="cannot be authenticated"):
            Client("products").get("/internal/products", {}, settings)
    assert fake.seen == []


def test_a_key_is_sent_where_the_catalogue_asks_for_tokens_or_is_trusted(
    open_catalogue: dict[str, Any], fake: Faulty
) -> None:
    vouched = [
        Settings(**open_catalogue, consul_token="t"),
        Settings(**open_catalogue, trust_catalogue=True),
        Settings(**open_dns(fake), trust_catalogue=True),
        Settings(services={"products": fake.url}, api_key="mine"),
    ]
    for settings in vouched:
        assert Client("products").get("/", {}, settings) == {"well": True}
    assert [headers["X-API-Key"] for _, _, headers, _ in fake.seen] == ["mine"] * len(vouched)


def test_without_a_key_any_catalogue_will_do(open_catalogue: dict[str, Any]) -> None:
    assert Client("products").get("/", {}, Settings(**{**open_catalogue, "api_key": ""})) == {"well": True}
