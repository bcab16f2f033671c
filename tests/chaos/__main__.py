"""`./souk chaos`: kills a program at every point of an order's life, one after the other, and writes docs/crash-table.md."""

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos.crashes import BAD, Crashes, Point
from tests.chaos.lives import LIVES
from tests.chaos.table import TABLE, write
from tests.installation import employed, installed, newcomer

console = Console(highlight=False)


def main() -> int:
    outcomes: dict[Point, str] = {}
    with tempfile.TemporaryDirectory(prefix="souk-chaos-") as folder, installed(Path(folder)) as stack:
        crashes = Crashes(stack, newcomer(stack)(), employed(stack))
        known: set[tuple[str, int]] = set()
        points: list[Point] = []
        for life in LIVES:
            # A later life is killed only where an earlier one did not pass.
            fresh = [point for point in crashes.points(life) if (point.name, point.passing) not in known]
            known |= {(point.name, point.passing) for point in fresh}
            points += fresh
        for number, point in enumerate(points, 1):
            outcomes[point] = crashes.crash(point)
            console.print(f"{number}/{len(points)} {point.life}: {point.title} -> {outcomes[point]}", soft_wrap=True)
    write(outcomes)
    bad = [point for point, outcome in outcomes.items() if outcome.startswith(BAD)]
    console.print(f"{len(outcomes) - len(bad)} passed, {len(bad)} failed: {TABLE}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
