"""One call: what the neighbour is told, and what its answer, or the lack of one, becomes for our own caller."""

import time

import pytest

from chassis.base import deadline, telemetry
from chassis.base.problems import Problem, Unavailable
from chassis.base.settings import Settings
from chassis.clients import BadAnswer, Client, NotThere, Refused, TooSlow
from tests.chassis.faulty import QUICK, Faulty, settings_for
from tests.conftest import free_port


def test_a_call_shows_our_key_the_trace_and_how_long_we_wait(neighbour: Faulty) -> None:
    with telemetry.trace(work="test"):
        answer = Client("neighbour").get("/well", {"q": [1, 2]}, settings_for(neighbour))
        assert answer == {"well": True}
        ((method, target, headers, _),) = neighbour.seen
        assert (method, target) == ("GET", "/well?q=1&q=2")
        assert headers["X-API-Key"] == "mine"
        assert headers["traceparent"] == telemetry.traceparent()
        assert 1_500 < int(headers[deadline.HEADER]) <= 2_000


def test_a_body_is_sent_as_json_and_no_content_is_none(neighbour: Faulty) -> None:
    neighbour.status, neighbour.body = 204, b""
    assert Client("neighbour").send("PUT", "/thing", settings_for(neighbour), {"a": 1}) is None
    ((method, _, headers, body),) = neighbour.seen
    assert (method, headers["Content-Type"], body) == ("PUT", "application/json", b'{"a": 1}')


@pytest.mark.parametrize(
    ("status", "body", "problem", "answered"),
    [
        (500, b"{}", Unavailable, 503),
        (503, b"{}", Unavailable, 503),
        (504, b"{}", TooSlow, 504),
        (429, b"{}", Unavailable, 503),
        (403, b"{}", Refused, 502),
        (302, b"{}", Refused, 502),
        (404, b"{}", NotThere, 502),
        (410, b"{}", NotThere, 502),
        (200, b"<html>", BadAnswer, 502),
        (200, b"\xff", BadAnswer, 502),
    ],
)
def test_a_bad_answer_is_an_honest_problem(
    neighbour: Faulty, status: int, body: bytes, problem: type[Problem], answered: int
) -> None:
    neighbour.status, neighbour.body = status, body
    with pytest.raises(problem) as raised:
        Client("neighbour", QUICK).get("/", {}, settings_for(neighbour))
    assert type(raised.value) is problem
    assert raised.value.status == answered


def test_the_neighbours_own_retry_after_is_passed_on(neighbour: Faulty) -> None:
    neighbour.status, neighbour.answer_headers = 503, {"Retry-After": "17"}
    with pytest.raises(Unavailable) as raised:
        Client("neighbour", QUICK).get("/", {}, settings_for(neighbour))
    assert raised.value.headers == {"Retry-After": "17"}


@pytest.mark.parametrize("how", ["hangs", "dribbles"])
def test_a_slow_neighbour_is_waited_for_no_longer_than_we_have(neighbour: Faulty, how: str) -> None:
    neighbour.says("x" * 1_000)
    setattr(neighbour, how, True)
    started = time.monotonic()
    with pytest.raises(TooSlow), deadline.within(0.5):
        Client("neighbour").get("/", {}, settings_for(neighbour))
    # It would take 20 s and more by itself; the rest is the machine's.
    assert time.monotonic() - started < 5


def test_an_answer_beyond_all_bounds_is_not_read(neighbour: Faulty) -> None:
    neighbour.body = b"1" * (9 * 2**20)
    with pytest.raises(BadAnswer):
        Client("neighbour").get("/", {}, settings_for(neighbour))
    assert len(neighbour.seen) == 1


def test_a_neighbour_that_is_away_or_unknown_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        Client("neighbour", QUICK).get("/", {}, settings_for(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(Unavailable, match="no known instance"):
        Client("stranger").get("/", {}, Settings())


def test_a_connection_that_the_neighbour_closed_meanwhile_costs_nothing(neighbour: Faulty) -> None:
    client, settings = Client("neighbour", QUICK), settings_for(neighbour)
    client.get("/", {}, settings)
    neighbour.hangs_up = True
    with pytest.raises(Unavailable):
        client.send("POST", "/", settings)
    neighbour.hangs_up = False
    assert client.send("POST", "/", settings) == {"well": True}
