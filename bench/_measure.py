"""How benchmarks measure and print: latencies in milliseconds as percentiles, rates, and one table with ratios."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass
class Series:
    """What one subject did: `milliseconds`, one entry a call, and how long the whole took."""

    name: str
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.milliseconds) / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """Milliseconds that `percent` of the calls did not exceed (nearest rank)."""
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def measure(name: str, call: Callable[[], object], count: int, clients: int = 1) -> Series:
    """Time `count` calls, made by `clients` threads that each call again as soon as they were answered."""

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
    """Print a row each; the first is the baseline, and the last column each one's rate as a multiple of its."""
    table = Table("what", "calls/s", "p50 ms", "p95 ms", "p99 ms", "ratio", title=title, title_justify="left")
    for each in series:
        numbers = [f"{each.percentile(percent):.2f}" for percent in (50, 95, 99)]
        table.add_row(each.name, _brief(each.rate), *numbers, _brief(each.rate / series[0].rate))
    console = Console(highlight=False)
    console.print(table)
    for note in notes:
        console.print(note)


def _brief(number: float) -> str:
    """To three digits: a paid order is a hundredth of a commit, and that has to be seen too."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
