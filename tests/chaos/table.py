"""docs/crash-table.md: every crash point of an order's life, with its outcome."""

from collections.abc import Mapping
from pathlib import Path

from tests.chaos.crashes import Point
from tests.chaos.lives import LIVES

TABLE = Path(__file__).parents[2] / "docs" / "crash-table.md"

_HEAD = """# Crash table

`./souk chaos` writes this table. For each row it placed an order, killed the program with SIGKILL at that point, let the supervisor
restart it, and then checked the databases, the bank and the mailbox: the order's status, stock on hand + held + sold = received, money
charged once, each fact notified once. Nothing may be repaired by a deadline: no command is repeated, and each message is found, by its
id, in the inbox of every receiver. Points are before and after each durable write (`commit` and `committed` in PostgreSQL; MongoDB's
commands, and the same with `done`), each send (`publish`, `published`; `send`, `sent` for Celery) and each acknowledgement; see
`chassis/base/failpoints.py`. A point that several lives pass is tried in the first of them.

*In 2 copies*: the mail server had accepted the mail, and the process was killed before it had recorded that; the mail was sent again with
the same Message-ID, which mail programs show once. *By a second attempt*: the process was killed while it was sending the mail. Another
process takes over after SOUK_ATTEMPT_SECONDS (two minutes; five seconds in this installation) and the sweeper's next run.

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
