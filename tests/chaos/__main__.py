"""Kill programs at every point of an order's life, one by one, and write docs/crash-table.md."""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos import table
from tests.chaos.crashes import Crashes, is_bad
from tests.chaos.lives import LIVES
from tests.installation import installed, new_person, new_staff

console = Console(highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./souk chaos", description=__doc__)
    parser.add_argument("--life", choices=LIVES, help="this life only; other rows of the table stay")
    parser.add_argument("--go-on", action="store_true", help="only points that the table lacks or has as failed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="souk-chaos-") as folder, installed(Path(folder)) as stack:
        crashes = Crashes(stack, new_person(stack)(), new_staff(stack))
        points = crashes.all_points()
        untried = [point for point in points if arguments.life in (None, point.life)]
        if arguments.go_on:
            passed = {point for point, outcome in table.read().items() if not is_bad(outcome)}
            untried = [point for point in untried if point not in passed]
        outcomes = {point: outcome for point, outcome in table.read().items() if point in set(points) - set(untried)}
        for number, point in enumerate(untried, 1):
            outcomes[point] = crashes.crash(point)
            table.write(outcomes)
            console.print(f"{number}/{len(untried)} {point.life}: {point.title} -> {outcomes[point]}", soft_wrap=True)
    bad = sum(map(is_bad, outcomes.values()))
    console.print(f"{len(outcomes)} of {len(points)} points tried, {bad} failed: {table.TABLE}")
    return 1 if bad or len(outcomes) < len(points) else 0


if __name__ == "__main__":
    sys.exit(main())
