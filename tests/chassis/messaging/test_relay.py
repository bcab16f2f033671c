"""The relay's rounds: what it does when there is nothing to send, much to send, or no way to send it."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat

import pytest

from chassis.messaging import relay as relay_module
from chassis.messaging.envelope import Envelope
from chassis.messaging.relay import BATCH, Batch, Relay
from tests.broker import an_envelope, sending_each
from tests.installation import until


class Rounds:
    """A source of these batches, and then of empty ones until it is stopped."""

    def __init__(self, batches: Iterable[int] = ()) -> None:
        self.batches, self.waits, self.looks = iter(batches), 0, 0

    @contextmanager
    def unsent(self) -> Iterator[Batch]:
        self.looks += 1
        yield Batch([an_envelope("x") for _ in range(next(self.batches, 0))])

    def wait(self, timeout_seconds: float) -> None:
        self.waits += 1
        threading.Event().wait(timeout_seconds)

    def wake(self) -> None:
        pass


@pytest.fixture
def run() -> Iterator[Callable[[Relay], None]]:
    """Runs a relay in a thread until the test ends."""
    stopping, threads = threading.Event(), []

    def start(relay: Relay) -> None:
        threads.append(threading.Thread(target=relay.run, args=[stopping], daemon=True))
        threads[-1].start()

    yield start
    stopping.set()
    for thread in threads:
        thread.join()


Run = Callable[[Relay], None]


def relaying(
    source: Rounds, probe: Callable[[], None] = lambda: None, send: Callable[[Envelope], None] = print
) -> Relay:
    return Relay(source, sending_each(send), probe, poll_seconds=0.01)


def test_an_idle_relay_probes_once_in_a_while(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "PROBE_SECONDS", 3_600)
    source, probes = Rounds(), list[int]()
    run(relaying(source, lambda: probes.append(source.looks)))
    until(lambda: source.waits > 5)
    assert probes == [1]


def test_an_idle_relay_probes_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "PROBE_SECONDS", 1.1)
    probes: list[None] = []
    run(relaying(Rounds(), lambda: probes.append(None)))
    until(lambda: len(probes) > 2)


def test_a_relay_that_sends_does_not_probe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "PROBE_SECONDS", 3_600)
    source, probes = Rounds([1]), list[None]()
    run(relaying(source, lambda: probes.append(None)))
    until(lambda: source.waits > 5)
    assert probes == []


def test_a_relay_waits_only_when_there_may_be_no_more(run: Run) -> None:
    source = Rounds([BATCH, BATCH, BATCH - 1])
    seen: list[int] = []
    run(relaying(source, send=lambda _: seen.append(source.waits)))
    until(lambda: source.waits > 1)
    assert seen == [0] * (3 * BATCH - 1)


@pytest.mark.parametrize("fails_to", ["probe", "send"])
def test_a_relay_reports_its_error_until_it_works_again(run: Run, fails_to: str) -> None:
    broken = threading.Event()
    broken.set()

    def work(*_: object) -> None:
        if broken.is_set():
            raise ConnectionError("broker unavailable")

    relay = relaying(Rounds(repeat(1)), send=work) if fails_to == "send" else relaying(Rounds(), work)
    relay.check()
    run(relay)
    until(lambda: relay._error is not None)
    with pytest.raises(ConnectionError, match="unavailable"):
        relay.check()
    broken.clear()
    until(lambda: relay._error is None)
    relay.check()
