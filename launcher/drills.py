"""Drills: break something under load, and count the failures that callers see.

Half of the load uses the gateway, half `chassis.clients`. All are reads, so none may fail.
"""

import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import urllib3
from pydantic import SecretStr

from chassis.base.problems import Problem
from chassis.base.settings import Settings
from chassis.clients import Client
from launcher import catalogue, running
from launcher.demo import Customer
from launcher.errors import LaunchError
from launcher.services import instance_names
from launcher.stack import Stack

SERVICE, PATH = "users", "/users/me"
THREADS = 16
DEADLINE_SECONDS = 180.0


@dataclass
class Load:
    sent: int = 0
    failures: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0


@dataclass
class Outcome:
    title: str
    load: Load
    findings: list[str]
    recovery_seconds: float = 0.0
    """Until the catalogue was complete again."""


def kill_an_instance(stack: Stack, rate: float) -> Outcome:
    """rate: requests per second."""
    _expect_instances(stack, 3)
    victim = instance_names(SERVICE, 3)[1]
    with _under_load(stack, rate) as load:
        pid = stack.supervisor.statuses()[victim].pid
        os.kill(pid, signal.SIGKILL)
        # It may be back before Consul notices that it was gone.
        back = _until(lambda: stack.supervisor.statuses()[victim].pid not in (pid, 0) and victim in _healthy(stack))
    return Outcome(f"{victim} killed", load, [f"back after {back:.1f} s"], back)


def roll(stack: Stack, rate: float) -> Outcome:
    """One after the other."""
    _expect_instances(stack, 3)
    with _under_load(stack, rate) as load:
        began = time.monotonic()
        for web in instance_names(SERVICE, 3):
            running.restart(stack, web)
        took = time.monotonic() - began
    return Outcome("all three restarted", load, [f"in {took:.1f} s"])


def lose_consul(stack: Stack, rate: float, seconds: float) -> Outcome:
    """After `seconds`, start it again without its data."""
    before = len(_healthy(stack))
    server = stack.servers["consul"]
    if server.given:
        raise LaunchError("SOUK_CONSUL_URL names an external Consul, and drills break only what ./souk up has started.")
    with _under_load(stack, rate) as load:
        stack.supervisor.stop(["consul"])
        time.sleep(seconds)
        shutil.rmtree(stack.state.data / "consul", ignore_errors=True)
        stack.supervisor.start_program("consul")
        stack.wait_ready("consul")
        back = _until(lambda: len(_healthy(stack)) == before)
    return Outcome(
        f"Consul lost for {seconds:.0f} s, with its data", load, [f"all {before} instances back after {back:.1f} s"]
    )


# --- inside


def _expect_instances(stack: Stack, count: int) -> None:
    if len(stack.services.instances(SERVICE)) < count:
        raise LaunchError(f"This drill needs {count} instances: ./souk scale {SERVICE}={count}")


def _healthy(stack: Stack) -> set[str]:
    """None while Consul is unavailable."""
    try:
        entries = catalogue.read(stack)
    except LaunchError:
        return set()
    return {each.instance for each in entries if not each.failing}


def _until(condition: Callable[[], bool]) -> float:
    """Seconds it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > DEADLINE_SECONDS:
            raise LaunchError(f"The drill's condition did not hold within {DEADLINE_SECONDS:.0f} s.")
        time.sleep(0.05)
    return time.monotonic() - began


@contextmanager
def _under_load(stack: Stack, rate: float) -> Iterator[Load]:
    """During the block, and for a second before and after."""
    load, stopping, customer = Load(), threading.Event(), Customer(stack.gateway_url)
    customer.sign_up()
    clients = itertools.cycle(
        [_through_gateway(stack, customer.authorization), _through_clients(stack, customer.authorization)]
    )
    pause = THREADS / rate
    threads = [threading.Thread(target=_send, args=(next(clients), pause, load, stopping)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        stopping.wait(1.0)
        yield load
        stopping.wait(1.0)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def _send(request: Callable[[], None], pause_seconds: float, load: Load, stopping: threading.Event) -> None:
    due = time.monotonic()
    while not stopping.wait(max(0.0, due - time.monotonic())):
        began = time.monotonic()
        due = max(due + pause_seconds, began)
        try:
            request()
        except (Problem, urllib3.exceptions.HTTPError, ConnectionError) as error:
            load.failures.append(f"{type(error).__name__}: {error}"[:200])
        load.sent += 1
        load.slowest_seconds = max(load.slowest_seconds, time.monotonic() - began)


def _through_gateway(stack: Stack, token: str) -> Callable[[], None]:
    pool, url = urllib3.PoolManager(maxsize=THREADS, retries=False, timeout=30), stack.gateway_url + PATH

    def request() -> None:
        response = pool.request("GET", url, headers={"Authorization": token})
        if response.status != 200:
            raise ConnectionError(f"the gateway returned {response.status}: {response.data[:100]!r}")

    return request


def _through_clients(stack: Stack, token: str) -> Callable[[], None]:
    consul_token = SecretStr(stack.credentials("").get("SOUK_CONSUL_TOKEN", ""))
    settings = Settings(
        consul_url=stack.url("consul"),
        consul_token=consul_token,
        internal_ca_file=str(stack.services.internal_ca or ""),
        threads=2 * THREADS,
    )
    client = Client(SERVICE)
    return lambda: client.get(PATH, {}, settings, Authorization=token)
