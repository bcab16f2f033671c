"""One call: what the upstream is told, and what its answer, or the lack of one, becomes for our own caller."""

import time

import pytest

from chassis.base import deadline, telemetry
from chassis.base.problems import Problem, Unavailable
from chassis.base.settings import Settings
from chassis.clients import BadAnswer, Client, NotThere, Refused, TooSlow
from tests.chassis.faulty import QUICK, Faulty, settings_for
from tests.conftest import free_port


def test_a_call_shows_our_key_the_trace_and_how_long_we_wait(upstream: Faulty) -> None:
    with telemetry.trace(work="test"):
        answer = Client("upstream").get("/well", {"q": [1, 2]}, settings_for(upstream))
        assert answer == {"well": True}
        ((method, target, headers, _),) = upstream.seen
        assert (method, target) == ("GET", "/well?q=1&q=2")
        assert headers["X-API-Key"] == "mine"
        assert headers["traceparent"] == telemetry.traceparent()
        assert 1_500 < int(headers[deadline.HEADER]) <= 2_000


def test_a_body_is_sent_as_json_and_no_content_is_none(upstream: Faulty) -> None:
    upstream.status, upstream.body = 204, b""
    assert Client("upstream").send("PUT", "/thing", settings_for(upstream), {"a": 1}) is None
    ((method, _, headers, body),) = upstream.seen
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
    upstream: Faulty, status: int, body: bytes, problem: type[Problem], answered: int
) -> None:
    upstream.status, upstream.body = status, body
    with pytest.raises(problem) as raised:
        Client("upstream", QUICK).get("/", {}, settings_for(upstream))
    assert type(raised.value) is problem
    assert raised.value.status == answered


def test_the_upstreams_own_retry_after_is_passed_on(upstream: Faulty) -> None:
    upstream.status, upstream.answer_headers = 503, {"Retry-After": "17"}
    with pytest.raises(Unavailable) as raised:
        Client("upstream", QUICK).get("/", {}, settings_for(upstream))
    assert raised.value.headers == {"Retry-After": "17"}


@pytest.mark.parametrize("how", ["hangs", "dribbles"])
def test_a_slow_upstream_is_waited_for_no_longer_than_we_have(upstream: Faulty, how: str) -> None:
    upstream.says("x" * 1_000)
    setattr(upstream, how, True)
    started = time.monotonic()
    with pytest.raises(TooSlow), deadline.within(0.5):
        Client("upstream").get("/", {}, settings_for(upstream))
    # It would take 20 s and more by itself; the rest is the machine's.
    assert time.monotonic() - started < 5


def test_an_answer_beyond_all_bounds_is_not_read(upstream: Faulty) -> None:
    upstream.body = b"1" * (9 * 2**20)
    with pytest.raises(BadAnswer):
        Client("upstream").get("/", {}, settings_for(upstream))
    assert len(upstream.seen) == 1


def test_a_upstream_that_is_away_or_unknown_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        Client("upstream", QUICK).get("/", {}, settings_for(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(Unavailable, match="no known instance"):
        Client("stranger").get("/", {}, Settings())


def test_a_connection_that_the_upstream_closed_meanwhile_costs_nothing(upstream: Faulty) -> None:
    client, settings = Client("upstream", QUICK), settings_for(upstream)
    client.get("/", {}, settings)
    upstream.hangs_up = True
    with pytest.raises(Unavailable):
        client.send("POST", "/", settings)
    upstream.hangs_up = False
    assert client.send("POST", "/", settings) == {"well": True}
