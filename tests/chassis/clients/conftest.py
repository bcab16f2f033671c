"""One or two upstreams that can be made ill."""

from collections.abc import Iterator

import pytest

from tests.chassis.faulty import Faulty, faulty


@pytest.fixture
def upstream() -> Iterator[Faulty]:
    with faulty() as started:
        yield started


@pytest.fixture
def other() -> Iterator[Faulty]:
    with faulty() as started:
        yield started
