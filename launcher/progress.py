"""Tells what is being done: a live list of steps on a terminal, plain lines elsewhere, nothing for tests."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


class Progress:
    """Says nothing; the base of those who do. All of it may be called from any thread."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        yield

    def say(self, line: str) -> None:
        """Something the person should know, whatever else is going on."""

    @contextmanager
    def telling(self) -> Iterator[None]:
        yield


class PlainProgress(Progress):
    """One line when a step is done, so that a log file or a CI job can be read."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.say(f"{title} ({time.monotonic() - started:.1f} s)")

    def say(self, line: str) -> None:
        # Nobody reading any more is no reason to stop half-way.
        with suppress(BrokenPipeError):
            print(line, flush=True)


class LiveProgress(Progress):
    """The steps in hand with spinners; those that are done scroll up with their time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._steps: dict[str, Spinner] = {}
        self._live = Live(console=console, refresh_per_second=10, transient=True)

    @contextmanager
    def telling(self) -> Iterator[None]:
        with self._live:
            yield

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        self._show(title, Spinner("dots", Text(title)))
        done = False
        try:
            yield
            done = True
        finally:
            self._show(title, None)
            if done:
                seconds = time.monotonic() - started
                self._console.print(f"[green]✓[/] {escape(title)} [dim]{seconds:.1f} s[/]", highlight=False)

    def say(self, line: str) -> None:
        self._console.print(escape(line), highlight=False)

    def _show(self, title: str, spinner: Spinner | None) -> None:
        with self._lock:
            if spinner:
                self._steps[title] = spinner
            else:
                self._steps.pop(title, None)
            lines = Table.grid()
            for each in self._steps.values():
                lines.add_row(each)
            self._live.update(lines)


def for_terminal() -> Progress:
    return LiveProgress(Console()) if sys.stdout.isatty() else PlainProgress()
