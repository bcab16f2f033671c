"""Adding, killing, restarting and removing instances under load, and losing Consul, costs no request."""

from collections.abc import Iterator

import pytest
from rich.console import Console

from launcher import catalogue, drills, report, running
from launcher.errors import LaunchError
from launcher.stack import Stack

pytestmark = pytest.mark.timeout(400)

RATE = 40
"""Enough to have a request in flight at all times; `./souk drill` sends 200 per second."""


@pytest.fixture(scope="module")
def three(stack: Stack) -> Iterator[Stack]:
    """An installation with three instances of users."""
    running.scale(stack, drills.SERVICE, 3)
    yield stack
    running.scale(stack, drills.SERVICE, 1)
    assert [each.instance for each in entries(stack) if each.service == drills.SERVICE] == ["users-web"]
    assert "users-web-2" not in stack.supervisor.statuses()


def entries(stack: Stack) -> list[catalogue.Entry]:
    return catalogue.read(stack)


def test_the_catalogue_has_every_instance_with_health_and_version(three: Stack) -> None:
    found = entries(three)
    assert {each.instance for each in found} >= {"users-web", "users-web-2", "users-web-3", "orders-web"}
    assert {(each.version, tuple(each.failing)) for each in found} == {("0.1.0", ())}
    console = Console(record=True, width=200)
    report.catalogue(console, three)
    assert "users-web-3" in console.export_text()


def test_a_killed_instance_costs_no_request(three: Stack) -> None:
    outcome = drills.kill_an_instance(three, RATE)
    assert outcome.load.failures == []
    assert outcome.load.sent > 0


def test_restarting_one_after_the_other_costs_no_request(three: Stack) -> None:
    before = three.supervisor.statuses()
    outcome = drills.roll(three, RATE)
    after = three.supervisor.statuses()
    assert outcome.load.failures == []
    assert all(before[web].pid != after[web].pid for web in ("users-web", "users-web-2", "users-web-3"))


def test_losing_consul_with_its_data_costs_no_request(three: Stack) -> None:
    outcome = drills.lose_consul(three, RATE, seconds=3)
    assert outcome.load.failures == []
    assert outcome.recovery_seconds < 10


@pytest.mark.parametrize(("service", "count"), [("gateway", 2), ("users", 0), ("users", 21)])
def test_an_invalid_scale_is_an_error(stack: Stack, service: str, count: int) -> None:
    with pytest.raises(LaunchError):
        running.scale(stack, service, count)
