"""One call: what is sent, and what our own caller gets for each response, or for none."""

import time
from dataclasses import replace

import pytest

from chassis.base import deadline, tracing
from chassis.base.problems import Problem, Unavailable
from chassis.base.settings import Settings
from chassis.clients import BadResponse, Client, NotThere, Refused, TooSlow
from chassis.clients.peers import Request
from tests.chassis.faulty import QUICK, Faulty, settings_for
from tests.ports import free_port


def test_a_call_carries_our_key_the_trace_and_the_time_left(upstream: Faulty) -> None:
    with tracing.trace(work="test"):
        assert Client("upstream").get("/well", {"q": [1, 2]}, settings_for(upstream)) == {"well": True}
        ((method, target, headers, _),) = upstream.seen
        assert (method, target) == ("GET", "/well?q=1&q=2")
        assert headers["X-API-Key"] == "mine"
        assert headers["traceparent"] == tracing.traceparent()
        assert 1_500 < int(headers[deadline.HEADER]) <= 2_000


def test_a_call_for_a_person_carries_no_key_of_ours(upstream: Faulty) -> None:
    request = Request("/well", {"Authorization": "Bearer hers"})
    assert Client("upstream").send(request, settings_for(upstream)).status == 200
    ((_, _, headers, _),) = upstream.seen
    assert (headers["Authorization"], headers.get("X-API-Key")) == ("Bearer hers", None)


def test_no_content_is_none(upstream: Faulty) -> None:
    upstream.status, upstream.body = 204, b""
    assert Client("upstream").get("/", {}, settings_for(upstream)) is None


@pytest.mark.parametrize(
    ("status", "body", "problem", "responded"),
    [
        (500, b"{}", Unavailable, 503),
        (503, b"{}", Unavailable, 503),
        (504, b"{}", TooSlow, 504),
        (429, b"{}", Unavailable, 503),
        (403, b"{}", Refused, 502),
        (302, b"{}", Refused, 502),
        (404, b"{}", NotThere, 502),
        (410, b"{}", NotThere, 502),
        (200, b"<html>", BadResponse, 502),
        (200, b"\xff", BadResponse, 502),
        (200, b"[" * 100_000, BadResponse, 502),
    ],
)
def test_a_bad_response_becomes_the_right_problem(
    upstream: Faulty, status: int, body: bytes, problem: type[Problem], responded: int
) -> None:
    upstream.status, upstream.body = status, body
    with pytest.raises(problem) as raised:
        Client("upstream", QUICK).get("/", {}, settings_for(upstream))
    assert type(raised.value) is problem
    assert raised.value.status == responded


def test_the_upstreams_retry_after_is_passed_on(upstream: Faulty) -> None:
    upstream.status, upstream.response_headers = 503, {"Retry-After": "17"}
    with pytest.raises(Unavailable) as raised:
        Client("upstream", QUICK).get("/", {}, settings_for(upstream))
    assert raised.value.headers == {"Retry-After": "17"}


@pytest.mark.parametrize("how", ["hangs", "dribbles"])
def test_a_slow_upstream_is_not_waited_for_beyond_the_deadline(upstream: Faulty, how: str) -> None:
    upstream.respond_with("x" * 1_000)
    setattr(upstream, how, True)
    started = time.monotonic()
    with pytest.raises(TooSlow), deadline.within(0.5):
        Client("upstream").get("/", {}, settings_for(upstream))
    # On its own it would take 20 s; the margin is for a busy machine.
    assert time.monotonic() - started < 5


def test_an_oversized_response_is_not_read(upstream: Faulty) -> None:
    upstream.body = b"1" * (9 * 2**20)
    with pytest.raises(BadResponse):
        Client("upstream").get("/", {}, settings_for(upstream))
    assert len(upstream.seen) == 1


def test_an_upstream_that_is_down_or_unknown_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="does not respond"):
        Client("upstream", QUICK).get("/", {}, settings_for(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(Unavailable, match="no known instance"):
        Client("unknown").get("/", {}, Settings())


def test_a_pooled_connection_that_the_upstream_has_closed_is_replaced(upstream: Faulty) -> None:
    client, settings = Client("upstream", replace(QUICK, tries=1)), settings_for(upstream)
    client.get("/", {}, settings)
    upstream.hangs_up = True
    with pytest.raises(Unavailable):
        client.get("/", {}, settings)
    upstream.hangs_up = False
    assert client.get("/", {}, settings) == {"well": True}
