"""Latency of reading products while clients log in: none, and under different hashing settings, in alternating rounds.

Then the time of refused logins, which must not reveal whether an account exists, and of a revocation check.
"""

import json
import multiprocessing
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import urllib3

from bench import _services
from bench._measure import Series, measure, show
from chassis.base.settings import Settings
from chassis.security import revocations

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized
    from multiprocessing.synchronize import Event

LOGIN_CLIENTS = 8
ROUNDS = 3
READS = 600
PASSWORD = "correct horse battery"
ACCOUNTS = {"wrong password": "client0@example.com", "no such user": "nobody@example.com"}

REFUSALS = 100
REVOCATIONS = 2_000
NO_THROTTLE = {
    f"SOUK_MAX_FAILURES_PER_{name}": "1000000 per 1 hour" for name in ("ACCOUNT_AND_ADDRESS", "ACCOUNT", "ADDRESS")
}
OURS = f"{LOGIN_CLIENTS} clients log in"
PACED = "as many logins, almost free hashes"
VARIANTS = {
    OURS: {},
    PACED: {"SOUK_ARGON2_PASSES": "1", "SOUK_ARGON2_MEMORY_KIBIBYTES": "8"},
    "8 clients, no limits or niceness": {"SOUK_MAX_CONCURRENT_HASHES": str(LOGIN_CLIENTS), "SOUK_HASH_NICENESS": "0"},
}
"""Environment of the users service."""


def main() -> None:
    series = [Series(name) for name in ("idle", *VARIANTS)]
    logins = {each.name: 0 for each in series}
    with ExitStack() as stack:
        products = stack.enter_context(_services.serving("products", _services.products_environment()))
        database = stack.enter_context(_services.postgres())
        users = {
            name: stack.enter_context(_services.serving("users", {**_users_environment(database), **settings}))
            for name, settings in VARIANTS.items()
        }
        ours = users[OURS]
        for number in range(LOGIN_CLIENTS):
            _post(urllib3.PoolManager(), f"{ours}/users/register", _person(number))
        _run(series, logins, products, users)
        notes = [f"{name}: {count} logins at the same time" for name, count in logins.items() if count]
        notes += [
            f"{each.name}: p99 {each.percentile(99) / other.percentile(99):.2f} times that of {other.name!r}"
            for each, other in [*((each, series[0]) for each in series[1:]), (series[1], series[2])]
        ]
        show("GET /products/, one client", series, notes)
        show("A refused login", _refusals(ours))
    show("Checking for a revoked token", _revocations())


def _run(series: list[Series], logins: dict[str, int], products: str, users: dict[str, str]) -> None:
    pool = urllib3.PoolManager(timeout=30)

    def read() -> None:
        assert pool.request("GET", f"{products}/products/").status == 200

    measure("warm-up", read, 100)
    for _ in range(ROUNDS):
        pause_seconds = 0.0
        for each in series:
            with _logging_in(users.get(each.name), pause_seconds if each.name == PACED else 0.0) as count:
                taken = measure(each.name, read, READS)
                done = count()
            each.milliseconds += taken.milliseconds
            each.seconds += taken.seconds
            logins[each.name] += done
            if each.name == OURS:
                pause_seconds = LOGIN_CLIENTS * taken.seconds / done


def _refusals(users: str) -> list[Series]:
    pool = urllib3.PoolManager(timeout=30, retries=False)
    bodies = {name: {"email": email, "password": "wrong " + PASSWORD} for name, email in ACCOUNTS.items()}
    series = {name: Series(name) for name in bodies}
    for body in bodies.values():
        _post(pool, f"{users}/users/login", body)
    for _ in range(REFUSALS):
        for name, body in bodies.items():
            taken = measure(name, lambda body=body: _post(pool, f"{users}/users/login", body), 1)  # type: ignore[misc]
            series[name].milliseconds += taken.milliseconds
            series[name].seconds += taken.seconds
    return list(series.values())


def _revocations() -> list[Series]:
    settings = Settings(redis_url=os.environ["SOUK_TEST_REDIS_URL"])
    check = revocations.is_revoked
    check("known", settings)
    return [
        measure("a token checked within the last second", lambda: check("known", settings), REVOCATIONS),
        measure("another: one round trip to Redis", lambda: check(uuid.uuid4().hex, settings), REVOCATIONS),
    ]


@contextmanager
def _logging_in(users: str | None, pause_seconds: float) -> Iterator[Callable[[], int]]:
    """Yields a function that counts logins."""
    if users is None:
        yield lambda: 0
        return
    done, stopping = multiprocessing.Value("i", 0), multiprocessing.Event()
    clients = [
        multiprocessing.Process(target=_log_in, args=(users, number, pause_seconds, done, stopping))
        for number in range(LOGIN_CLIENTS)
    ]
    for client in clients:
        client.start()
    try:
        _services.until(lambda: done.value >= LOGIN_CLIENTS)
        before = done.value
        yield lambda: done.value - before
    finally:
        stopping.set()
        for client in clients:
            client.join()
    assert not any(client.exitcode for client in clients), "a client got no response"


def _log_in(users: str, number: int, pause_seconds: float, done: "Synchronized[int]", stopping: "Event") -> None:
    # Forked clients would share the parent's connections.
    pool = urllib3.PoolManager(timeout=30, retries=False)
    body = {name: _person(number)[name] for name in ("email", "password")}
    while not stopping.is_set():
        if _post(pool, f"{users}/users/login", body) == 200:
            with done.get_lock():
                done.value += 1
        stopping.wait(pause_seconds)


def _person(number: int) -> dict[str, str]:
    return {"email": f"client{number}@example.com", "username": f"client{number}", "password": PASSWORD}


def _post(pool: urllib3.PoolManager, url: str, body: dict[str, str]) -> int:
    headers = {"Content-Type": "application/json"}
    return pool.request("POST", url, body=json.dumps(body).encode(), headers=headers).status


def _users_environment(database: str) -> dict[str, str]:
    return {"SOUK_DATABASE_URL": database, "SOUK_REQUEST_SECRET": "x" * 32, **NO_THROTTLE}


if __name__ == "__main__":
    main()
