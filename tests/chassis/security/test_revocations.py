"""A revocation is known for as long as its token could be used."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.base.settings import Settings
from chassis.security import revocations
from chassis.storage import redis
from tests.conftest import server_url


@pytest.fixture
def settings() -> Iterator[Settings]:
    yield Settings(redis_url=server_url("REDIS"))
    revocations._cache.clear()


def test_a_revocation_lasts_as_long_as_its_token(settings: Settings) -> None:
    token_id, minutes = uuid4().hex, timedelta(minutes=15)
    revocations.publish({token_id: clock.now() + minutes}, settings)
    assert revocations.is_revoked(token_id, settings)
    left = timedelta(milliseconds=redis.client(settings.redis_url).pttl(f"souk:revoked:{token_id}"))
    assert minutes < left <= minutes + LEEWAY + timedelta(seconds=1)


def test_an_expired_token_is_not_kept(settings: Settings) -> None:
    token_id = uuid4().hex
    revocations.publish({token_id: clock.now() - timedelta(minutes=1)}, settings)
    assert not redis.client(settings.redis_url).exists(f"souk:revoked:{token_id}")
