"""A live list on a terminal, plain lines elsewhere, nothing in tests."""

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
    """Silent. Thread-safe."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        yield

    def report(self, line: str) -> None:
        pass

    @contextmanager
    def shown(self) -> Iterator[None]:
        yield


class PlainProgress(Progress):
    """For log files and CI."""

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.report(f"{title} ({time.monotonic() - started:.1f} s)")

    def report(self, line: str) -> None:
        # A closed pipe must not stop us half-way.
        with suppress(BrokenPipeError):
            print(line, flush=True)


class LiveProgress(Progress):
    """Finished steps scroll up with their duration."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._steps: dict[str, Spinner] = {}
        self._live = Live(console=console, refresh_per_second=10, transient=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
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

    def report(self, line: str) -> None:
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
