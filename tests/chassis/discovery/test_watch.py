"""What is known of a service survives the source's absence, and an empty catalogue is not believed too soon."""

from collections.abc import Sequence

from chassis.discovery import Instance
from chassis.discovery.watch import EMPTY_GRACE_SECONDS, EMPTY_POLL_SECONDS, RETRY_SECONDS, Watch

ONE, TWO = Instance("1", "http://127.0.0.1:1"), Instance("2", "http://127.0.0.1:2")


class Source:
    """Gives what it holds, or raises it; the time is what the test says."""

    def __init__(self) -> None:
        self.gives: Sequence[Instance] | Exception = [ONE]
        self.patience: list[float] = []
        self.now = 0.0
        self.watch = Watch("x", self.ask, 30, lambda: self.now)

    def ask(self, patience_seconds: float) -> Sequence[Instance]:
        self.patience.append(patience_seconds)
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives

    def turn(self, gives: Sequence[Instance] | Exception) -> tuple[Instance, ...]:
        self.gives = gives
        self.watch.turn()
        return self.watch.instances


def test_the_last_instances_are_kept_while_the_source_is_unavailable() -> None:
    source = Source()
    assert source.turn([TWO, ONE]) == (ONE, TWO)
    assert source.turn(ConnectionError()) == (ONE, TWO)
    source.now = 10_000
    assert source.turn(ValueError("nonsense")) == (ONE, TWO)
    assert source.turn([TWO]) == (TWO,)


def test_an_unavailable_source_is_queried_with_pauses() -> None:
    source = Source()
    source.gives = ConnectionError()
    assert RETRY_SECONDS[0] <= source.watch.turn() <= RETRY_SECONDS[1]
    source.gives = [ONE]
    assert source.watch.turn() == 0


def test_an_empty_catalogue_is_accepted_once_it_stays_empty() -> None:
    source = Source()
    source.turn([ONE])
    assert source.turn([]) == (ONE,)
    source.now = EMPTY_GRACE_SECONDS - 1
    assert source.turn([]) == (ONE,)
    assert source.patience[-1] == EMPTY_POLL_SECONDS
    source.now = EMPTY_GRACE_SECONDS + 1
    assert source.turn([]) == ()
    assert source.watch.turn() == 0
    assert source.patience[-1] == 30


def test_the_grace_period_restarts_each_time_it_becomes_empty() -> None:
    source = Source()
    source.turn([ONE])
    source.turn([])
    source.now = EMPTY_GRACE_SECONDS - 1
    source.turn([TWO])
    assert source.turn([]) == (TWO,)
    source.now += EMPTY_GRACE_SECONDS - 1
    assert source.turn([]) == (TWO,)


def test_an_unchanged_result_is_the_same_object() -> None:
    source = Source()
    assert source.turn([ONE, TWO]) is source.turn([Instance("2", TWO.url), ONE])
