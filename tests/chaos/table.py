"""docs/crash-table.md: every crash point of an order's life and what became of an order whose program died there."""

from collections.abc import Mapping
from pathlib import Path

from tests.chaos.crashes import Point
from tests.chaos.lives import LIVES

TABLE = Path(__file__).parents[2] / "docs" / "crash-table.md"

_HEAD = """# Where a crash was tried

`./souk chaos` writes this table. For each row it placed an order, killed the program with SIGKILL at that point of its work, let
the supervisor start it again, and then asked the databases, the bank and the mailbox: is the order as it should be, is the stock on hand +
held + sold what was received, was the money charged once, was each fact told once? A point is passed before or after a durable write
(`commit` and `committed` in PostgreSQL; MongoDB's commands and the same with `done`), a send (`publish`, `published`; `send`, `sent` for
Celery) or an acknowledgement; see `chassis/base/failpoints.py`. A life that comes later is only killed where no earlier one passed.

*In 2 copies*: the mail server had taken the mail, and the process died before it had noted that; the mail was handed over again under the
same Message-ID, by which a reader's mail program knows it. *By a second attempt*: the process died with the mail in hand. It is another's
after SOUK_ATTEMPT_SECONDS (two minutes; in this installation five seconds) and the sweeper's next turn, since until then nobody can know
that its sender is gone.

| life | program | work | point | outcome |
|---|---|---|---|---|
"""

_LIVES = list(LIVES)


def write(outcomes: Mapping[Point, str]) -> None:
    rows = [
        f"| {point.life} | {' | '.join(point.title.split(': ', 2))} | {outcomes[point]} |"
        for point in sorted(outcomes, key=lambda point: (_LIVES.index(point.life), point))
    ]
    TABLE.write_text(_HEAD + "\n".join(rows) + "\n")


def read() -> dict[Point, str]:
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
    return {_point(life, f"{program}: {work}: {what}"): outcome for life, program, work, what, outcome in rows[1:]}


def _point(life: str, title: str) -> Point:
    name, _, passing = title.partition(", passing ")
    return Point(life, name, int(passing or 1))
