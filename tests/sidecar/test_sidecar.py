"""The entry in a real Consul while the instance fails, Consul fails, and the sidecar stops."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import consul as py_consul
import pytest

from services.sidecar import health
from services.sidecar.instance import probe
from services.sidecar.settings import Settings
from services.sidecar.sidecar import Sidecar
from tests.chassis.faulty import Faulty, faulty
from tests.consul import ConsulServer
from tests.ports import free_port
from tests.small_disk import fill, small_disk

DEADLINE_SECONDS = 20


@pytest.fixture
def instance() -> Iterator[Faulty]:
    with faulty() as started:
        started.respond_with({"status": "ready", "in_flight": 0})
        yield started


def settings_of(consul_url: str, instance: Faulty, **more: Any) -> Settings:
    values = {"version": "1.2", "heartbeat_seconds": 0.1, "check_seconds": 0.2, "drain_seconds": 5.0, **more}
    return Settings("users", "users-web", instance.url, consul_url, **values)


@pytest.fixture
def sidecar(consul: ConsulServer, instance: Faulty) -> Sidecar:
    return Sidecar(settings_of(consul.url, instance))


@pytest.fixture
def live(consul: ConsulServer, instance: Faulty) -> Iterator[Callable[[], Sidecar]]:
    """Starts a sidecar in a thread, until the end of the test."""
    stopping, threads = threading.Event(), []

    def start() -> Sidecar:
        sidecar = Sidecar(settings_of(consul.url, instance))
        threads.append(threading.Thread(target=sidecar.run, args=[stopping]))
        threads[-1].start()
        return sidecar

    yield start
    stopping.set()
    for thread in threads:
        thread.join()


def test_a_ready_instance_is_in_the_catalogue(consul: ConsulServer, sidecar: Sidecar) -> None:
    sidecar.heartbeat()
    # Read by a third-party library, not by our own code.
    _, (found,) = py_consul.Consul(port=consul.port).health.service("users", passing=True)
    entry, (host, port) = found["Service"], sidecar._settings.address
    assert (entry["ID"], entry["Address"], entry["Port"]) == ("users-web", host, port)
    assert entry["Tags"] == ["souk", "v1.2"]
    assert entry["Meta"] == {"instance": "users-web", "version": "1.2", "scheme": "http"}
    assert {each["CheckID"] for each in found["Checks"]} >= {"users-web:ready", "users-web:live"}
    assert sidecar.is_ready


def test_an_unresponsive_instance_is_not_registered(consul: ConsulServer, sidecar: Sidecar, instance: Faulty) -> None:
    instance.hangs_up = True
    sidecar.heartbeat()
    assert (consul.status("users-web"), sidecar.state) == ("", "waiting")
    instance.hangs_up = False
    sidecar.heartbeat()
    assert consul.healthy("users") == ["users-web"]


@pytest.mark.parametrize(("how", "status"), [("not ready", "warning"), ("dead", "critical")])
def test_each_change_of_health_is_reported_at_the_next_heartbeat(
    consul: ConsulServer, sidecar: Sidecar, instance: Faulty, how: str, status: str
) -> None:
    sidecar.heartbeat()
    instance.status, instance.hangs_up = (503, False) if how == "not ready" else (200, True)
    sidecar.heartbeat()
    assert (consul.status("users-web"), consul.healthy("users"), sidecar.is_ready) == (status, [], False)
    instance.status, instance.hangs_up = 200, False
    sidecar.heartbeat()
    assert consul.healthy("users") == ["users-web"]


def test_an_instance_that_starts_without_its_database_is_registered_with_a_warning(
    consul: ConsulServer, sidecar: Sidecar, instance: Faulty
) -> None:
    instance.status = 503
    sidecar.heartbeat()
    assert (consul.status("users-web"), sidecar.state, sidecar.is_ready) == ("warning", "registered", False)


def test_an_instance_with_a_slow_readiness_check_is_alive(serve: Callable[[Any], str]) -> None:
    probed = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/health/ready":
            probed.wait(DEADLINE_SECONDS)
        start_response("200 OK", [])
        return [b"{}"]

    condition = probe(serve(app))
    probed.set()
    assert (condition.status, condition.reason) == ("warning", "no response from /health/ready: TimeoutError")


def test_consul_probes_the_instance_too(consul: ConsulServer, sidecar: Sidecar, instance: Faulty) -> None:
    sidecar.heartbeat()
    instance.hangs_up = True
    # No further heartbeat, as if the sidecar hung.
    consul.until(lambda: consul.status("users-web") == "critical")


def test_a_wiped_consul_has_every_instance_again_within_ten_seconds(
    consul: ConsulServer, live: Callable[[], Sidecar]
) -> None:
    sidecar = live()
    consul.until(lambda: consul.healthy("users") == ["users-web"])
    consul.kill(wipe=True)
    consul.until(lambda: sidecar.state == "consul unavailable")
    consul.start()
    consul.until(lambda: consul.healthy("users") == ["users-web"], 10)
    consul.until(lambda: sidecar.state == "registered")


def test_a_restarted_consul_needs_no_new_entry(consul: ConsulServer, sidecar: Sidecar) -> None:
    sidecar.heartbeat()
    consul.kill()
    sidecar.heartbeat()
    # Callers remember the instance: a pod that got unready would take it from them.
    assert (sidecar.state, sidecar.is_ready) == ("consul unavailable", True)
    consul.start()
    consul.until(lambda: (sidecar.heartbeat(), consul.healthy("users") == ["users-web"])[1])


def test_a_removed_entry_is_registered_again(consul: ConsulServer, sidecar: Sidecar) -> None:
    sidecar.heartbeat()
    consul.request("/v1/agent/service/deregister/users-web", "PUT")
    sidecar.heartbeat()
    assert consul.healthy("users") == ["users-web"]


def test_only_stale_entries_of_this_instance_are_removed(
    consul: ConsulServer, sidecar: Sidecar, instance: Faulty
) -> None:
    port = instance.server.server_port
    consul.register("users", "an-old-id", free_port(), Meta={"instance": "users-web"})
    consul.register("users", "old-name-here", port)
    consul.register("users", "users-web-2", free_port(), Meta={"instance": "users-web-2"})
    consul.register("orders", "orders-web", port)
    sidecar.heartbeat()
    assert consul.healthy("users") == ["users-web", "users-web-2"]
    assert consul.healthy("orders") == ["orders-web"]


def test_draining_waits_for_requests_in_flight_and_then_deregisters(
    consul: ConsulServer, sidecar: Sidecar, instance: Faulty
) -> None:
    with draining(sidecar, instance):
        consul.until(lambda: consul.status("users-web") == "critical")
        assert (sidecar.state, sidecar.is_ready) == ("draining", False)
    assert consul.request("/v1/agent/services") == {}


def test_draining_waits_without_consul_too(consul: ConsulServer, sidecar: Sidecar, instance: Faulty) -> None:
    """Callers remember the instance."""
    with draining(sidecar, instance, consul.kill):
        pass


@contextmanager
def draining(sidecar: Sidecar, instance: Faulty, before: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Of a registered instance, which has requests in flight until the block ends."""
    sidecar.heartbeat()
    instance.respond_with({"in_flight": 2})
    before()
    thread = threading.Thread(target=sidecar.drain)
    seen = len(instance.seen)
    thread.start()
    yield
    instance.wait_for(seen + 3)
    assert thread.is_alive()
    instance.respond_with({"in_flight": 0})
    thread.join(DEADLINE_SECONDS)
    assert sidecar.state == "stopped"


def test_draining_is_limited_in_time(consul: ConsulServer, instance: Faulty) -> None:
    sidecar = Sidecar(settings_of(consul.url, instance, drain_seconds=0.3))
    sidecar.heartbeat()
    instance.respond_with({"in_flight": 2})
    sidecar.drain()
    assert (sidecar.state, consul.request("/v1/agent/services")) == ("stopped", {})


def test_it_stops_without_consul_too(consul: ConsulServer, sidecar: Sidecar) -> None:
    sidecar.heartbeat()
    consul.kill()
    sidecar.drain()
    assert sidecar.state == "stopped"


def test_it_does_not_register_with_a_consul_without_a_leader(instance: Faulty) -> None:
    with faulty() as leaderless:
        leaderless.body = b'""'
        sidecar = Sidecar(settings_of(leaderless.url, instance))
        sidecar.heartbeat()
        assert not sidecar.is_ready
        assert sidecar.state == "consul unavailable"
        assert [target for _, target, _, _ in leaderless.seen] == ["/v1/status/leader"]


@pytest.mark.parametrize(("status", "state"), [(403, "forbidden"), (500, "consul unavailable")])
def test_a_denied_permission_differs_from_an_unavailable_consul(instance: Faulty, status: int, state: str) -> None:
    with faulty() as strict:
        strict.status = status
        sidecar = Sidecar(settings_of(strict.url, instance))
        sidecar.heartbeat()
        assert sidecar.state == state


def test_it_reports_its_state(consul: ConsulServer, sidecar: Sidecar) -> None:
    def get(path: str) -> tuple[int, str]:
        status, _, text = health.respond(sidecar, sidecar._settings, path)
        return status, text

    assert get("/health/ready")[0] == 503
    sidecar.heartbeat()
    assert get("/health/ready")[0] == get("/health/live")[0] == 200
    reported = json.loads(get("/health")[1])
    assert (reported["state"], reported["instance"], reported["instance_ready"], reported["in_flight"]) == (
        "registered",
        "users-web",
        True,
        0,
    )
    assert 'souk_ready{check="registered"} 1\n' in get("/metrics")[1]
    assert get("/nothing")[0] == 404


def test_a_consul_on_a_full_disk_keeps_the_entry(consul_binary: Path, tmp_path: Path, instance: Faulty) -> None:
    with small_disk(tmp_path / "disk", 32) as disk:
        full = ConsulServer(consul_binary, disk)
        try:
            full.start()
            sidecar = Sidecar(settings_of(full.url, instance))
            sidecar.heartbeat()
            full.until(lambda: full.healthy("users"))
            ballast = fill(disk)
            # It also fails, and recovers.
            for instance.hangs_up in (False, False, True, False, False):
                sidecar.heartbeat()
                assert sidecar.state == "consul unavailable"
                assert full.request("/v1/agent/services").keys() == {"users-web"}
            ballast.unlink()
            full.until(lambda: (sidecar.heartbeat(), full.healthy("users") == ["users-web"])[1])
        finally:
            full.kill()
