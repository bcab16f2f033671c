"""Failed logins are limited by account and by address, over all instances, also without Redis."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.users import passwords, throttle
from services.users.settings import Settings
from tests.redis import FAILURES, breakable

from .conftest import PASSWORD, hashes_held


@pytest.fixture(autouse=True)
def no_local_counts() -> Iterator[None]:
    """Of the tests before: they count without Redis in this process."""
    yield
    throttle._local.cache_clear()


@pytest.fixture
def attempt(http) -> Callable[..., Any]:
    def post(email: str = "ada@example.com", password: str = "wrong password", **headers: str) -> Any:
        return http.post("/users/login", json={"email": email, "password": password}, headers=headers)

    return post


def test_too_many_failures_are_a_429_with_retry_after(register, attempt, settings):
    settings(max_failures_per_account_and_address="3 per 1 minute")
    register()
    assert [attempt().status_code for _ in range(4)] == [401, 401, 401, 429]
    refused = attempt(password=PASSWORD)
    assert (refused.status_code, refused.json["type"]) == (429, "/problems/too-many-attempts")
    assert 1 <= int(refused.headers["Retry-After"]) <= 120


def test_a_missing_account_is_throttled_too(attempt, settings):
    settings(max_failures_per_account_and_address="2 per 1 minute")
    assert [attempt("nobody@example.com").status_code for _ in range(3)] == [401, 401, 429]


@pytest.mark.parametrize("redis", [{}, {"redis_url": "redis://127.0.0.1:1/0"}], ids=["shared", "local"])
def test_a_correct_password_resets_the_count(register, attempt, settings, redis):
    settings(max_failures_per_account_and_address="3 per 1 minute", **redis)
    register()
    for _ in range(3):
        assert [attempt().status_code, attempt().status_code] == [401, 401]
        assert attempt(password=PASSWORD).status_code == 200


@pytest.mark.parametrize("count", ["max_failures_per_account", "max_failures_per_address"])
def test_a_correct_password_resets_only_the_count_of_this_account_from_this_address(register, attempt, settings, count):
    """Else a guesser would log in to an account of their own whenever the limit is near."""
    settings(**{count: "3 per 1 minute"})
    register()
    if count == "max_failures_per_account":
        guesses = iter([{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(4)])
    else:
        guesses = iter([{"email": f"user{number}@example.com"} for number in range(4)])
    assert [attempt(**next(guesses)).status_code for _ in range(2)] == [401, 401]
    assert attempt(password=PASSWORD).status_code == 200
    assert [attempt(**next(guesses)).status_code for _ in range(2)] == [401, 429]


def test_failures_from_another_address_do_not_lock_the_owner_out(register, attempt, settings):
    settings(max_failures_per_account_and_address="2 per 1 minute")
    register()
    other = {"X-Forwarded-For": "203.0.113.7"}
    assert [attempt(**other).status_code for _ in range(3)] == [401, 401, 429]
    assert attempt(password=PASSWORD, **{"X-Forwarded-For": "203.0.113.8"}).status_code == 200


def test_many_addresses_are_throttled_by_account(register, attempt, settings):
    settings(max_failures_per_account="3 per 1 minute")
    register()
    seen = [attempt(**{"X-Forwarded-For": f"203.0.113.{number}"}).status_code for number in range(4)]
    assert seen == [401, 401, 401, 429]


def test_many_accounts_are_throttled_by_address(attempt, settings):
    settings(max_failures_per_address="3 per 1 minute")
    assert [attempt(f"user{number}@example.com").status_code for number in range(4)] == [401, 401, 401, 429]


@pytest.mark.parametrize(("hops", "appended"), [(1, "203.0.113.7"), (2, "203.0.113.7, 192.0.2.{}")])
def test_a_client_cannot_choose_the_address_it_is_counted_by(attempt, settings, hops, appended):
    settings(max_failures_per_address="2 per 1 minute", trusted_hops=hops)
    # Each edge appends the address it sees; the rest is the client's claim.
    claims = [f"198.51.100.{number}, {appended.format(number)}" for number in range(3)]
    seen = [
        attempt(f"user{claim}@example.com"[:4] + "@example.com", **{"X-Forwarded-For": claim}).status_code
        for claim in claims
    ]
    assert seen == [401, 401, 429]


def test_only_the_edge_may_forward_addresses(attempt, settings):
    settings(max_failures_per_address="2 per 1 minute", trusted_proxies=("192.0.2.0/24",))
    claims = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(3)]
    assert [attempt(f"user{number}@example.com", **claim).status_code for number, claim in enumerate(claims)] == [
        401, 401, 429,
    ]  # fmt: skip


def test_all_instances_share_the_count_and_it_outlives_them(start, register, attempt, settings):
    limit = "3 per 15 minutes"
    settings(max_failures_per_account_and_address=limit)
    register()
    other = start(max_failures_per_account_and_address=limit)
    wrong = {"email": "ada@example.com", "password": "wrong password"}
    assert [attempt().status_code, other.request("/users/login", wrong).status, attempt().status_code] == [
        401,
        401,
        401,
    ]
    refused = other.request("/users/login", {**wrong, "password": PASSWORD})
    other.popen.kill()
    again = attempt(password=PASSWORD)
    assert (refused.status, again.status_code) == (429, 429)
    for response in (refused, again):
        assert 1 <= int(response.headers["Retry-After"]) <= 30 * 60


def test_without_redis_an_instance_counts_locally(attempt, settings):
    settings(max_failures_per_account_and_address="2 per 1 minute", redis_url="redis://127.0.0.1:1/0")
    assert [attempt().status_code for _ in range(3)] == [401, 401, 429]


@pytest.mark.parametrize("failure", FAILURES)
def test_while_redis_fails_the_throttle_keeps_throttling(register, attempt, settings, tmp_path, failure):
    with breakable(tmp_path) as server:
        settings(max_failures_per_account_and_address="4 per 1 hour", redis_url=server.url)
        register()
        assert [attempt().status_code for _ in range(2)] == [401, 401]
        server.fail(failure)
        started = time.monotonic()
        statuses = [attempt().status_code for _ in range(6)]
        assert time.monotonic() - started < 15
    assert statuses[:2] == [401, 401]
    assert statuses[-2:] == [429, 429]


def test_failures_that_redis_did_not_take_count_once_it_is_back(register, attempt, settings, tmp_path):
    with breakable(tmp_path) as server:
        settings(max_failures_per_account_and_address="2 per 1 hour", redis_url=server.url)
        register()
        server.fail("full")
        assert [attempt().status_code for _ in range(3)] == [401, 401, 429]
        server.recover()
        assert attempt(password=PASSWORD).status_code == 429


def test_the_keys_of_the_counts_reveal_no_one(attempt, users):
    from chassis.storage import redis

    attempt("ada@example.com")
    keys = [key.decode() for key in redis.client(users.settings.redis_url).scan_iter("souk:users:*")]
    assert keys
    assert not any("ada" in key or "127.0.0.1" in key for key in keys)


def test_too_many_requests_waiting_for_a_hash_are_a_503(http, register, settings):
    settings(max_waiting_hashes=1)
    with hashes_held():
        refused = http.post("/users/login", json={"email": "ada@example.com", "password": PASSWORD})
        other = http.get("/users/.well-known/jwks.json")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert other.status_code == 200
    assert http.post("/users/login", json={"email": "ada@example.com", "password": PASSWORD}).status_code == 401


def test_hashes_are_computed_at_low_priority():
    import os
    import threading

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert passwords.at_low_priority(priority) == priority() + Settings.current().hash_niceness
