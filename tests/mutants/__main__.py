"""`./souk mutants`: plants one mistake at a time in the core and prints those that no test notices.

cosmic-ray makes the mistakes, in a copy of the tree. (mutmut leaves decorated functions alone, and so every handler.)
"""

import argparse
import ast
import os
import random
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from tests.mutants import mistakes
from tests.mutants.trials import Trials

ROOT = Path(__file__).parents[2]
CORE = tomllib.loads((Path(__file__).parent / "core.toml").read_text())
FILES = CORE["files"]
EQUIVALENT = tomllib.loads((Path(__file__).parent / "equivalent.toml").read_text()).get("equivalent", [])
MIN_KILLED_PERCENT = 90.0
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".souk", "__pycache__", ".*_cache", ".coverage*", ".hypothesis")


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    before: str
    after: str
    noticed_by: str | None = None

    @property
    def is_equivalent(self) -> bool:
        return any(
            all(fnmatchcase(getattr(self, name), each[name]) for name in ("file", "before", "after"))
            for each in EQUIVALENT
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="./souk mutants", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="only these of tests/mutants/core.toml")
    parser.add_argument("--percent", type=float, default=100, help="only this share of each file's mistakes, at random")
    parser.add_argument("--verbose", action="store_true", help="print also what was noticed, and by which test")
    parser.add_argument("--seed", type=int, default=0, help="of that choice")
    arguments = parser.parse_args()
    if unknown := set(arguments.files) - FILES.keys():
        parser.error(f"not in tests/mutants/core.toml: {', '.join(sorted(unknown))}")
    viable: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="souk-mutants-") as folder:
        os.chdir(shutil.copytree(ROOT, Path(folder) / "tree", ignore=NOT_COPIED))
        for file in arguments.files or FILES:
            found = list(mutants(file, Path(folder), arguments.percent / 100, arguments.seed))
            killed = [each for each in found if each.noticed_by]
            print(f"{file}: {len(killed)} of {len(found)} noticed", flush=True)
            for each in found:
                if arguments.verbose or not each.noticed_by:
                    print(f"  {each.file}:{each.line} {each.noticed_by or ''}\n    - {each.before}\n    + {each.after}")
            viable += found
    percent = 100 * sum(bool(each.noticed_by) for each in viable) / max(len(viable), 1)
    print(f"{percent:.1f} % of {len(viable)} mistakes noticed; at least {MIN_KILLED_PERCENT:.0f} % have to be")
    return 0 if percent >= MIN_KILLED_PERCENT else 1


def mutants(file: str, folder: Path, share: float, seed: int) -> Iterator[Mutant]:
    """Each viable mistake in `file`, tried. Exits when the tests fail without one."""
    trials = Trials(file, FILES[file], folder)
    found = mistakes.of(file, CORE["exclude-operators"])
    for each in random.Random(seed).sample(found, round(len(found) * share)):
        with each.planted() as (before, after):
            if after is not None and _compiles(after):
                mutant = Mutant(file, each.line, *mistakes.changed(before, after))
                if not mutant.is_equivalent:
                    yield replace(mutant, noticed_by=trials.noticed_by(each.line))


def _compiles(text: str) -> bool:
    """cosmic-ray takes the stars of an unpacking for an operator."""
    with suppress(SyntaxError):
        ast.parse(text)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
