"""Guessing is slow: by account, by address, over all instances, and also while Redis is away."""

from collections.abc import Callable
from typing import Any

import pytest

from services.users import passwords, throttle
from services.users.settings import Settings

from .conftest import PASSWORD, hashes_held


@pytest.fixture
def attempt(http) -> Callable[..., Any]:
    def post(email: str = "ada@example.com", password: str = "wrong password", **headers: str) -> Any:
        return http.post("/users/login", json={"email": email, "password": password}, headers=headers)

    return post


def test_who_fails_too_often_waits_and_is_told_how_long(register, attempt, settings):
    settings(failures_of_pair="3 per 1 minute")
    register()
    assert [attempt().status_code for _ in range(4)] == [401, 401, 401, 429]
    refused = attempt(password=PASSWORD)
    assert (refused.status_code, refused.json["type"]) == (429, "/problems/too-many-attempts")
    assert 1 <= int(refused.headers["Retry-After"]) <= 120


def test_an_account_that_is_not_there_is_throttled_alike(attempt, settings):
    settings(failures_of_pair="2 per 1 minute")
    assert [attempt("nobody@example.com").status_code for _ in range(3)] == [401, 401, 429]


def test_a_password_that_is_right_forgets_the_slips_before_it(register, attempt, settings):
    settings(failures_of_pair="3 per 1 minute")
    register()
    for _ in range(3):
        assert [attempt().status_code, attempt().status_code] == [401, 401]
        assert attempt(password=PASSWORD).status_code == 200


def test_strangers_do_not_lock_an_owner_out(register, attempt, settings):
    settings(failures_of_pair="2 per 1 minute")
    register()
    stranger = {"X-Forwarded-For": "203.0.113.7"}
    assert [attempt(**stranger).status_code for _ in range(3)] == [401, 401, 429]
    assert attempt(password=PASSWORD, **{"X-Forwarded-For": "203.0.113.8"}).status_code == 200


def test_many_addresses_together_are_throttled_by_the_account(register, attempt, settings):
    settings(failures_of_account="3 per 1 minute")
    register()
    seen = [attempt(**{"X-Forwarded-For": f"203.0.113.{number}"}).status_code for number in range(4)]
    assert seen == [401, 401, 401, 429]


def test_many_accounts_are_throttled_by_the_address(attempt, settings):
    settings(failures_of_address="3 per 1 minute")
    assert [attempt(f"user{number}@example.com").status_code for number in range(4)] == [401, 401, 401, 429]


def test_a_client_does_not_choose_the_address_it_is_counted_by(attempt, settings):
    settings(failures_of_address="2 per 1 minute")
    # The edge appends what it sees; what stands before that is the client's own word.
    claims = [f"198.51.100.{number}, 203.0.113.7" for number in range(3)]
    seen = [
        attempt(f"user{claim}@example.com"[:4] + "@example.com", **{"X-Forwarded-For": claim}).status_code
        for claim in claims
    ]
    assert seen == [401, 401, 429]


def test_who_is_not_the_edge_is_not_believed(attempt, settings):
    settings(failures_of_address="2 per 1 minute", trusted_proxies=("192.0.2.0/24",))
    claims = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(3)]
    assert [attempt(f"user{number}@example.com", **claim).status_code for number, claim in enumerate(claims)] == [
        401, 401, 429,
    ]  # fmt: skip


def test_all_instances_count_together_and_the_count_outlives_them(start, register, attempt, settings):
    limit = "3 per 15 minutes"
    settings(failures_of_pair=limit)
    register()
    other = start(failures_of_pair=limit)
    wrong = {"email": "ada@example.com", "password": "wrong password"}
    assert [attempt().status_code, other.ask("/users/login", wrong).status, attempt().status_code] == [401, 401, 401]
    refused = other.ask("/users/login", {**wrong, "password": PASSWORD})
    other.popen.kill()
    again = attempt(password=PASSWORD)
    assert (refused.status, again.status_code) == (429, 429)
    for answer in (refused, again):
        assert 1 <= int(answer.headers["Retry-After"]) <= 30 * 60


def test_while_redis_is_away_an_instance_counts_by_itself(attempt, settings):
    settings(failures_of_pair="2 per 1 minute", redis_url="redis://127.0.0.1:1/0")
    try:
        assert [attempt().status_code for _ in range(3)] == [401, 401, 429]
    finally:
        throttle._own.cache_clear()


def test_what_is_counted_tells_nobody_who_tries(attempt, users):
    from chassis.storage import redis

    attempt("ada@example.com")
    keys = [key.decode() for key in redis.client(users.settings.redis_url).scan_iter("souk:users:*")]
    assert keys
    assert not any("ada" in key or "127.0.0.1" in key for key in keys)


def test_more_who_wait_for_a_hash_than_have_room_are_told_to_come_again(http, register, settings):
    settings(hashes_waiting=1)
    with hashes_held():
        refused = http.post("/users/login", json={"email": "ada@example.com", "password": PASSWORD})
        other = http.get("/users/.well-known/jwks.json")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert other.status_code == 200
    assert http.post("/users/login", json={"email": "ada@example.com", "password": PASSWORD}).status_code == 401


def test_hashes_are_made_behind_everybody_else():
    import os
    import threading

    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert passwords.at_low_priority(priority) == priority() + Settings.current().hash_niceness
