"""One or two upstreams that can be made ill."""

from collections.abc import Iterator

import pytest

from tests.chassis.faulty import Faulty, faulty
from tests.consul import _shared_consul, consul, consul_binary

__all__ = ["_shared_consul", "consul", "consul_binary"]


@pytest.fixture
def upstream() -> Iterator[Faulty]:
    with faulty() as started:
        yield started


@pytest.fixture
def other() -> Iterator[Faulty]:
    with faulty() as started:
        yield started
