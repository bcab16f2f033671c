"""Latencies and rates, printed as a table with ratios."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Series:
    """milliseconds: one per call. seconds: in total."""

    name: str
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.milliseconds) / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Milliseconds (nearest rank)."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def measure(name: str, call: Callable[[], object], count: int, clients: int = 1) -> Series:
    def work(times: int) -> list[float]:
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            call()
            taken.append((time.perf_counter() - started) * 1_000)
        return taken

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        shares = pool.map(work, [count // clients] * clients)
        milliseconds = [each for share in shares for each in share]
    return Series(name, milliseconds, time.perf_counter() - started)


def show(title: str, series: Sequence[Series], notes: Iterable[str] = ()) -> None:
    """The last column is the rate relative to the first row."""
    table = Table("what", "calls/s", "p50 ms", "p95 ms", "p99 ms", "ratio", title=title, title_justify="left")
    for each in series:
        numbers = [f"{each.percentile(percent):.2f}" for percent in (50, 95, 99)]
        table.add_row(each.name, _brief(each.rate), *numbers, _brief(each.rate / series[0].rate))
    console = Console(highlight=False)
    console.print(table)
    for note in notes:
        console.print(note)


def _brief(number: float) -> str:
    """Three digits: some ratios are below a hundredth."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
