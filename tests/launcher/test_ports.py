import socket
from collections.abc import Iterator

import pytest

from launcher import ports


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which something else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_the_preferred_port_is_chosen_if_it_is_free(state, free):
    assert ports.choose(state, {"gateway": free}) == {"gateway": free}


def test_another_port_is_chosen_if_it_is_taken(state, taken):
    chosen = ports.choose(state, {"gateway": taken})["gateway"]
    assert chosen in ports.FREE_RANGE
    assert ports.is_free(chosen)


def test_a_choice_is_kept(state, free):
    first = ports.choose(state, {"redis": 0, "gateway": free})
    assert ports.choose(state, {"redis": 0, "gateway": 0, "bank": 0}).items() >= first.items()


def test_a_kept_port_that_is_taken_meanwhile_is_replaced(state, taken):
    state.write_json("ports.json", {"redis": taken})
    assert ports.choose(state, {"redis": taken})["redis"] != taken


def test_a_port_held_by_our_own_program_is_kept(state, taken):
    state.write_json("ports.json", {"redis": taken})
    assert ports.choose(state, {"redis": 0}, held={taken})["redis"] == taken


def test_preferred_ports_are_ignored_without_standard(state, free):
    assert ports.choose(state, {"redis": free}, standard=False)["redis"] in ports.FREE_RANGE


def test_no_port_is_chosen_twice(state, free):
    names = {f"program-{number}": free for number in range(50)}
    assert len(set(ports.choose(state, names).values())) == 50
