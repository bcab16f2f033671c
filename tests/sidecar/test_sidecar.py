"""The entry in a real Consul's catalogue, through the instance's illnesses, Consul's, and the sidecar's own end."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import consul as py_consul
import pytest

from services.sidecar import health
from services.sidecar.instance import look
from services.sidecar.settings import Settings
from services.sidecar.sidecar import Sidecar
from tests.chassis.faulty import Faulty, faulty
from tests.conftest import free_port
from tests.consul import ConsulServer

DEADLINE_SECONDS = 20


@pytest.fixture
def instance() -> Iterator[Faulty]:
    with faulty() as started:
        started.says({"status": "ready", "in_flight": 0})
        yield started


def settings_of(consul_url: str, instance: Faulty, **more: Any) -> Settings:
    values = {"version": "1.2", "beat_seconds": 0.1, "check_seconds": 0.2, "drain_seconds": 5.0, **more}
    return Settings("users", "users-web", instance.url, consul_url, **values)


@pytest.fixture
def sidecar(consul: ConsulServer, instance: Faulty) -> Sidecar:
    return Sidecar(settings_of(consul.url, instance))


@pytest.fixture
def live(consul: ConsulServer, instance: Faulty) -> Iterator[Callable[[], Sidecar]]:
    """Starts a sidecar that beats by itself until the test is over."""
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


def test_a_ready_instance_is_in_the_catalogue_as_others_read_it(consul: ConsulServer, sidecar: Sidecar) -> None:
    sidecar.beat()
    # Read by a library that others use, not by our own code.
    _, (found,) = py_consul.Consul(port=consul.port).health.service("users", passing=True)
    entry, (host, port) = found["Service"], sidecar._settings.address
    assert (entry["ID"], entry["Address"], entry["Port"]) == ("users-web", host, port)
    assert entry["Tags"] == ["souk", "v1.2"]
    assert entry["Meta"] == {"instance": "users-web", "version": "1.2", "scheme": "http"}
    assert {each["CheckID"] for each in found["Checks"]} >= {"users-web:ready", "users-web:answers"}
    assert sidecar.is_ready


def test_an_instance_that_does_not_answer_yet_is_not_in_the_catalogue(
    consul: ConsulServer, sidecar: Sidecar, instance: Faulty
) -> None:
    instance.hangs_up = True
    sidecar.beat()
    assert (consul.status("users-web"), sidecar.state) == ("", "waiting")
    instance.hangs_up = False
    sidecar.beat()
    assert consul.healthy("users") == ["users-web"]


@pytest.mark.parametrize(("how", "status"), [("not ready", "warning"), ("gone", "critical")])
def test_an_ill_instance_is_told_with_the_next_beat_and_a_well_one_with_the_next(
    consul: ConsulServer, sidecar: Sidecar, instance: Faulty, how: str, status: str
) -> None:
    sidecar.beat()
    instance.status, instance.hangs_up = (503, False) if how == "not ready" else (200, True)
    sidecar.beat()
    assert (consul.status("users-web"), consul.healthy("users"), sidecar.is_ready) == (status, [], False)
    instance.status, instance.hangs_up = 200, False
    sidecar.beat()
    assert consul.healthy("users") == ["users-web"]


def test_an_instance_that_starts_while_its_database_is_away_is_there_for_what_it_can_do_without(
    consul: ConsulServer, sidecar: Sidecar, instance: Faulty
) -> None:
    instance.status = 503
    sidecar.beat()
    assert (consul.status("users-web"), sidecar.state, sidecar.is_ready) == ("warning", "registered", False)


def test_an_instance_whose_readiness_takes_long_is_alive_all_the_same(serve: Callable[[Any], str]) -> None:
    asked = threading.Event()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/health/ready":
            asked.wait(DEADLINE_SECONDS)
        start_response("200 OK", [])
        return [b"{}"]

    condition = look(serve(app))
    asked.set()
    assert (condition.status, condition.reason) == ("warning", "does not say whether it is ready: TimeoutError")


def test_consul_looks_by_itself_too(consul: ConsulServer, sidecar: Sidecar, instance: Faulty) -> None:
    sidecar.beat()
    instance.hangs_up = True
    # No further beat: as if the sidecar hung.
    consul.until(lambda: consul.status("users-web") == "critical")


def test_a_wiped_consul_has_everybody_back_within_ten_seconds(
    consul: ConsulServer, live: Callable[[], Sidecar]
) -> None:
    sidecar = live()
    consul.until(lambda: consul.healthy("users") == ["users-web"])
    consul.kill(wipe=True)
    consul.until(lambda: sidecar.state == "consul away")
    consul.start()
    consul.until(lambda: consul.healthy("users") == ["users-web"], 10)
    consul.until(lambda: sidecar.state == "registered")


def test_a_restarted_consul_needs_no_new_entry(consul: ConsulServer, sidecar: Sidecar) -> None:
    sidecar.beat()
    consul.kill()
    sidecar.beat()
    assert sidecar.state == "consul away"
    consul.start()
    consul.until(lambda: (sidecar.beat(), consul.healthy("users") == ["users-web"])[1])


def test_an_entry_that_somebody_removed_comes_back(consul: ConsulServer, sidecar: Sidecar) -> None:
    sidecar.beat()
    consul.ask("/v1/agent/service/deregister/users-web", "PUT")
    sidecar.beat()
    assert consul.healthy("users") == ["users-web"]


def test_what_a_crash_left_of_this_instance_is_removed_and_nobody_elses(
    consul: ConsulServer, sidecar: Sidecar, instance: Faulty
) -> None:
    port = instance.server.server_port
    consul.register("users", "an-old-id", free_port(), Meta={"instance": "users-web"})
    consul.register("users", "old-name-here", port)
    consul.register("users", "users-web-2", free_port(), Meta={"instance": "users-web-2"})
    consul.register("orders", "orders-web", port)
    sidecar.beat()
    assert consul.healthy("users") == ["users-web", "users-web-2"]
    assert consul.healthy("orders") == ["orders-web"]


def test_going_it_waits_for_what_is_in_hand_out_of_the_traffic_and_then_leaves(
    consul: ConsulServer, sidecar: Sidecar, instance: Faulty
) -> None:
    sidecar.beat()
    instance.says({"in_flight": 2})
    draining = threading.Thread(target=sidecar.drain)
    draining.start()
    consul.until(lambda: consul.status("users-web") == "critical")
    assert sidecar.state == "draining"
    seen = len(instance.seen)
    instance.wait_for(seen + 3)
    assert draining.is_alive()
    instance.says({"in_flight": 0})
    draining.join(10)
    assert sidecar.state == "gone"
    assert consul.ask("/v1/agent/services") == {}


def test_it_does_not_wait_for_ever(consul: ConsulServer, instance: Faulty) -> None:
    sidecar = Sidecar(settings_of(consul.url, instance, drain_seconds=0.3))
    sidecar.beat()
    instance.says({"in_flight": 2})
    sidecar.drain()
    assert (sidecar.state, consul.ask("/v1/agent/services")) == ("gone", {})


def test_going_without_a_consul_is_going_all_the_same(consul: ConsulServer, sidecar: Sidecar) -> None:
    sidecar.beat()
    consul.kill()
    sidecar.drain()
    assert sidecar.state == "gone"


def test_a_consul_without_a_leader_is_not_given_an_entry_it_could_lose(instance: Faulty) -> None:
    with faulty() as leaderless:
        leaderless.body = b'""'
        sidecar = Sidecar(settings_of(leaderless.url, instance))
        sidecar.beat()
        assert sidecar.state == "consul away"
        assert [target for _, target, _, _ in leaderless.seen] == ["/v1/status/leader"]


@pytest.mark.parametrize(("status", "state"), [(403, "refused"), (500, "consul away")])
def test_a_consul_that_refuses_is_told_from_one_that_is_ill(instance: Faulty, status: int, state: str) -> None:
    with faulty() as strict:
        strict.status = status
        sidecar = Sidecar(settings_of(strict.url, instance))
        sidecar.beat()
        assert sidecar.state == state


def test_it_says_its_state(consul: ConsulServer, sidecar: Sidecar) -> None:
    def ask(path: str) -> tuple[int, str]:
        status, _, text = health.answer(sidecar, sidecar._settings, path)
        return status, text

    assert ask("/health/ready")[0] == 503
    sidecar.beat()
    assert ask("/health/ready")[0] == ask("/health/live")[0] == 200
    said = json.loads(ask("/health")[1])
    assert (said["state"], said["instance"], said["instance_ready"], said["in_flight"]) == (
        "registered",
        "users-web",
        True,
        0,
    )
    assert "souk_sidecar_registered 1\n" in ask("/metrics")[1]
    assert ask("/nothing")[0] == 404
