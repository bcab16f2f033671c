"""The mistakes that cosmic-ray knows to make in a file."""

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import use_mutation


@dataclass(frozen=True)
class Mistake:
    file: str
    operator: str
    occurrence: int
    line: int

    def planted(self) -> AbstractContextManager[tuple[str, str | None]]:
        """Writes the file with the mistake, and afterwards as it was. Yields both texts (no second: none possible)."""
        planted: AbstractContextManager[tuple[str, str | None]] = use_mutation(
            Path(self.file), plugins.get_operator(self.operator)(), self.occurrence
        )
        return planted


def of(file: str, excluded: Sequence[str]) -> list[Mistake]:
    """excluded: patterns of operators' names."""
    return [
        mistake
        for name in plugins.operator_names()
        if not any(re.match(each, name) for each in excluded)
        for mistake in _of_operator(file, name)
    ]


def _of_operator(file: str, name: str) -> Iterator[Mistake]:
    if (kind := plugins.get_operator(name)).arguments():
        return
    operator = kind()
    positions = (
        start for node in ast_nodes(get_ast_from_path(Path(file))) for start, _ in operator.mutation_positions(node)
    )
    for occurrence, (line, _) in enumerate(positions):
        yield Mistake(file, name, occurrence, line)


def changed(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, as they were and as they are."""
    diff = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    was, now = (" ".join(line[2:].strip() for line in diff if line.startswith(f"{sign} ")) for sign in "-+")
    return was, now
