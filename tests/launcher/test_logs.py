"""Programs' logs: complete lines over rotations, entries of any format, merged by time and found by id."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from launcher import story
from launcher.entries import Entry, entries
from launcher.errors import LaunchError
from launcher.logs import BLOCK_BYTES, Tail, last_lines, lines, rotated

ORDER, OTHER = "7d1f0c52-4a86-4a0e-9a3e-6a5d4f1b2c30", "9e2a1b63-5b97-4b1f-8b4f-7b6e5a2c3d41"
TRACE, TIMER = "a" * 32, "b" * 32
REQUEST = "3f2b7c1e-8a4d-4c55-9e0b-1d2c3b4a5f60"


def ours(second: float, event: str = "message", level: str = "info", **fields: object) -> str:
    moment = f"2026-11-29T10:00:{second:09.6f}Z"
    return json.dumps({"service": "orders", "event": event, "level": level, "timestamp": moment, **fields})


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Some servers write local time."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_log(program: str, *lines: str) -> Path:
        log = tmp_path / f"{program}.log"
        with open(log, "a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        return log

    return write_log


@pytest.mark.parametrize("count", [0, 1, 2, 7, 12])
def test_the_last_lines_are_whole_however_long_and_whether_rotated(tmp_path: Path, count: int) -> None:
    written = [f"{number} {'x' * (number * BLOCK_BYTES // 3)}" for number in range(8)]
    text, log = "".join(f"{line}\n" for line in written), tmp_path / "web.log"
    # The supervisor rotates between any two reads, so also within a line.
    for cut in (0, 10, len(text) // 2, len(text)):
        rotated(log).write_text(text[:cut])
        log.write_text(text[cut:])
        assert last_lines(log, count) == written[len(written) - min(count, 8) :]
        assert list(lines(log)) == written


def test_a_missing_log_has_no_lines(tmp_path: Path) -> None:
    assert (last_lines(tmp_path / "nothing"), list(lines(tmp_path / "nothing"))) == ([], [])


def texts(tail: Tail) -> list[str]:
    return [line.text for line in tail.fresh()]


def rotate(log: Path) -> None:
    """As the supervisor does, which keeps one."""
    rotated(log).unlink(missing_ok=True)
    log.rename(rotated(log))
    log.touch()


def test_a_tail_gives_new_complete_lines_once_also_over_rotations(write: Callable[..., Path]) -> None:
    log = write("web", "before")
    tail = Tail.from_end(log)
    assert texts(tail) == []
    with open(log, "a") as file:
        file.write("first\nsec")
    assert texts(tail) == ["first"]
    with open(log, "a") as file:
        file.write("ond\nthi")
    rotate(log)
    with open(log, "a") as file:
        file.write("rd\rstill\n")
    assert texts(tail) == ["second", "third\rstill"]
    write("web", "fourth")
    rotate(log)
    write("web", "fifth")
    rotate(log)
    write("web", "sixth")
    assert texts(tail) == ["fourth", "fifth", "sixth"]
    log.write_text("new\n")
    assert texts(tail) == ["new"]


def test_a_tail_of_a_program_that_has_not_written_yet(tmp_path: Path, write: Callable[..., Path]) -> None:
    tail = Tail.from_end(tmp_path / "late.log")
    assert texts(tail) == []
    write("late", "here")
    assert texts(tail) == ["here"]


def test_a_tail_takes_little_at_a_time(write: Callable[..., Path]) -> None:
    written = [str(number) * 100 for number in range(100)]
    tail = Tail.from_start(write("web", *written))
    found = [[line.text for line in tail.fresh(max_bytes=1_000)] for _ in range(100)]
    assert max(map(len, found)) < 10
    assert [text for each in found for text in each] == written


@pytest.mark.parametrize("rotations", [0, 1, 2, 3])
def test_a_tail_goes_on_after_a_position(write: Callable[..., Path], rotations: int) -> None:
    """Over two rotations the rest of the file is lost; what is left is not, whatever numbers the files have."""
    log = write("web", "first", "second")
    position = Tail.from_start(log).fresh()[0].position
    for number in range(rotations):
        rotate(log)
        write("web", f"after {number}")
    later = [f"after {number}" for number in range(rotations)]
    assert texts(Tail.after(position, log)) == (["second", *later] if rotations < 2 else later[-2:])


@pytest.mark.usefixtures("_utc")
@pytest.mark.parametrize(
    ("line", "at", "level"),
    [
        (ours(1.5, level="warning"), 1.5, "warning"),
        (json.dumps({"started_at": 1795946401500, "response": {"status": 502}}), 1.5, "error"),
        ("2026-11-29 10:00:01.500 UTC [71] ERROR:  relation does not exist", 1.5, "error"),
        ("2026-11-29 10:00:01.500000+00:00 [warning] <0.1.0> disk alarm", 1.5, "warning"),
        ("2026-11-29T10:00:01.500Z [INFO]  agent: synced", 1.5, "info"),
        ("ts=2026-11-29T10:00:01.500Z caller=main.go level=warn msg=slow", 1.5, "warning"),
        ("time=2026-11-29T10:00:01.500+00:00 level=ERROR source=a.go msg=no", 1.5, "error"),
        ("2026-11-29 10:00:01,500 CRIT daemon: stopped by an error", 1.5, "error"),
        ("812:M 29 Nov 2026 10:00:01.500 * Background saving started", 1.5, "info"),
    ],
)
def test_the_time_and_level_of_every_program_are_found(line: str, at: float, level: str) -> None:
    [entry] = entries("any", [line])
    assert (entry.time - 1795946400, entry.level) == (at, level)


@pytest.mark.parametrize(
    "line",
    [
        "2026-02-30 10:00:00 a day that is none",
        "0000-00-00 00:00:00 nothing",
        '{"started_at": "soon"}',
        '{"started_at": null, "request": 1}',
        '{"time": "2026-13-01T00:00:00Z"}',
    ],
)
def test_what_only_looks_like_an_entry_is_text(line: str) -> None:
    [entry] = entries("postgres", [line])
    assert (entry.event, entry.time) == (line, 0)


def test_a_traceback_stays_with_its_entry_and_out_of_json() -> None:
    text = ["2026-11-29 10:00:01 UTC [71] ERROR:  no", "\tat line 1", "\tat line 2"]
    crash = ["Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: no"]
    found = list(entries("any", [*text, ours(2), *crash, ours(3, "failed", exception="Traceback\n  ValueError")]))
    assert [entry.more.splitlines() for entry in found] == [
        ["\tat line 1", "\tat line 2"],
        [],
        crash[1:],
        ["Traceback", "  ValueError"],
    ]
    assert (found[2].level, found[2].time) == ("error", found[1].time)


def test_several_programs_are_merged_by_time(write: Callable[..., Path]) -> None:
    logs = [write("web", ours(1), ours(4), ours(5)), write("worker", ours(2), ours(3), ours(6))]
    found = story.last(logs, 4, story.Choice())
    assert [(entry.program, entry.time - 1795946400) for entry in found] == [
        ("worker", 3),
        ("web", 4),
        ("web", 5),
        ("worker", 6),
    ]


def test_entries_are_chosen_by_level_and_time(write: Callable[..., Path]) -> None:
    log = write("web", ours(1, level="error"), ours(2), ours(3, level="warning"), ours(4, level="critical"))
    choice = story.Choice(story.moment("2026-11-29T10:00:02+00:00"), "warning")
    assert [entry.level for entry in story.last([log], 50, choice)] == ["warning", "critical"]


def test_an_order_is_found_in_every_trace_without_other_orders(write: Callable[..., Path]) -> None:
    logs = [
        write("gateway", json.dumps({"started_at": 1795946400500, "correlation_id": REQUEST})),
        write(
            "orders",
            ours(1, "request", trace_id=TRACE, correlation_id=REQUEST),
            ours(2, order_id=ORDER, trace_id=TIMER),
            ours(3, order_id=OTHER, trace_id=TIMER),
            ours(4, "unrelated"),
        ),
        write("celery", ours(5, "task", trace_id=TRACE)),
    ]
    write("orders", ours(6, order_id=ORDER, trace_id=TRACE))

    def times(found: Sequence[Entry]) -> list[float]:
        return [entry.time - 1795946400 for entry in found]

    assert times(story.about(logs, ORDER, story.Choice(), is_order=True)) == [1, 2, 5, 6]
    assert times(story.about(logs, REQUEST[:8], story.Choice())) == [0.5, 1, 5, 6]
    assert times(story.about(logs, TIMER, story.Choice())) == [2, 3]


@pytest.mark.parametrize("id_", ["7d1f0c5", "", ".*", "order 7d1f0c52"])
def test_what_is_not_an_id_is_refused(id_: str, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="is not an id"):
        story.about([], id_, story.Choice())


@pytest.mark.parametrize("text", ["yesterday", "15", "99999999999d", ""])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(LaunchError, match="is not a time"):
        story.moment(text)


def test_following_shows_new_entries_by_time_also_of_new_programs(tmp_path: Path, write: Callable[..., Path]) -> None:
    write("web", ours(1))
    news = story.follow(lambda: sorted(tmp_path.glob("*.log")), story.Choice(), poll_seconds=0)
    assert next(news) == []
    write("web", ours(4))
    write("worker", ours(3))
    assert [(entry.program, entry.time - 1795946400) for entry in next(news)] == [("worker", 3), ("web", 4)]
    write("worker", ours(5))
    assert [entry.time - 1795946400 for entry in next(news)] == [5]


def test_a_traceback_that_is_being_written_is_followed_as_one(write: Callable[..., Path]) -> None:
    log = write("web")
    news = story.follow(lambda: [log], story.Choice(), poll_seconds=0)
    assert next(news) == []
    write("web", "Traceback (most recent call last):", '  File "a.py"')
    assert next(news) == []
    write("web", "ValueError: no")
    assert next(news) == []
    [entry] = next(news)
    assert entry.more.splitlines() == ['  File "a.py"', "ValueError: no"]


def test_what_a_server_writes_without_end_is_followed_while_it_writes(write: Callable[..., Path]) -> None:
    log = write("postgres")
    news = story.follow(lambda: [log], story.Choice(), poll_seconds=0)
    next(news)
    shown: list[str] = []
    for number in range(20):
        write("postgres", f"2026-11-29 10:00:{number:02} UTC [71] LOG:  {number}")
        shown += [entry.event for entry in next(news)]
    # The last may go on.
    assert len(shown) == 19
    for _ in range(story.MAX_LOOKS + 1):
        write("postgres", "\tand on")
        shown += [entry.event for entry in next(news)]
    assert len(shown) == 20


def test_people_see_short_ids_and_programs_whole_ones() -> None:
    [entry] = entries("orders-worker", [ours(1, type="stock.reserved", order_id=ORDER, note="two words")])
    shown = entry.to_text(is_coloured=False)
    assert (
        shown
        == '11-29 10:00:01.000 orders-worker        info     message type=stock.reserved order_id=7d1f0c52 note="two words"'
    )
    assert json.loads(entry.to_json())["order_id"] == ORDER
    assert "\x1b[" in entry.to_text(is_coloured=True)
