"""`./souk mutants`: plants one mistake at a time in the core and prints those that no test notices.

cosmic-ray makes the mistakes, in a copy of the tree. (mutmut leaves decorated functions alone, and so every handler.)
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkResult

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
    is_killed: bool

    @property
    def is_equivalent(self) -> bool:
        return any(
            (each["file"], each["before"], each["after"]) == (self.file, self.before, self.after) for each in EQUIVALENT
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="./souk mutants", description=__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", help="only these of tests/mutants/core.toml")
    parser.add_argument("--sample", type=int, help="only so many mistakes of each file, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="of that choice")
    arguments = parser.parse_args()
    if unknown := set(arguments.files) - FILES.keys():
        parser.error(f"not in tests/mutants/core.toml: {', '.join(sorted(unknown))}")
    viable: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="souk-mutants-") as folder:
        tree = shutil.copytree(ROOT, Path(folder) / "tree", ignore=NOT_COPIED)
        for file in arguments.files or FILES:
            found = [each for each in mutants(tree, file, arguments.sample, arguments.seed) if not each.is_equivalent]
            survivors = [each for each in found if not each.is_killed]
            print(f"{file}: {len(found) - len(survivors)} of {len(found)} noticed", flush=True)
            for each in survivors:
                print(f"  {each.file}:{each.line}\n    - {each.before}\n    + {each.after}", flush=True)
            viable += found
    percent = 100 * sum(each.is_killed for each in viable) / max(len(viable), 1)
    print(f"{percent:.1f} % of {len(viable)} mistakes noticed; at least {MIN_KILLED_PERCENT:.0f} % have to be")
    return 0 if percent >= MIN_KILLED_PERCENT else 1


def mutants(tree: Path, file: str, sample: int | None, seed: int) -> Iterator[Mutant]:
    """Each mistake in `file`, tried. Exits when the tests fail without one."""
    config, session = tree.parent / "config.toml", tree.parent / f"{file.replace('/', '.')}.sqlite"
    config.write_text(_config(file))
    _run(tree, "cosmic-ray", "baseline", config)
    _run(tree, "cosmic-ray", "init", config, session)
    _run(tree, "cr-filter-operators", session, config)
    with use_db(str(session), WorkDB.Mode.open) as db:
        pending = [item.job_id for item in db.pending_work_items]
        skipped = random.Random(seed).sample(pending, max(len(pending) - (sample or len(pending)), 0))
        db.set_multiple_results(skipped, WorkResult(WorkerOutcome.SKIPPED))
    _run(tree, "cosmic-ray", "exec", config, session)
    with use_db(str(session), WorkDB.Mode.open) as db:
        for item, result in db.completed_work_items:
            if result.worker_outcome == WorkerOutcome.NORMAL:
                before, after = (_changed(result.diff, sign) for sign in "-+")
                yield Mutant(file, item.mutations[0].start_pos[0], before, after, result.is_killed)


def _config(file: str) -> str:
    # The first failure is enough, and the order of the tests is theirs, as the baseline's.
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider -p no:randomly {' '.join(FILES[file])}"
    # A string or list in JSON is one in TOML.
    return f"""[cosmic-ray]
module-path = {json.dumps(file)}
timeout = {CORE["timeout-seconds"]}
excluded-modules = []
test-command = {json.dumps(command)}
distributor.name = "local"
filters.operators-filter.exclude-operators = {json.dumps(CORE["exclude-operators"])}
"""


def _run(tree: Path, program: str, *arguments: str | Path) -> None:
    command = [str(Path(sys.executable).parent / program), *map(str, arguments)]
    outcome = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if outcome.returncode:
        sys.exit(f"{program} {arguments[0]} failed:\n{outcome.stdout}{outcome.stderr}")


def _changed(diff: str, sign: str) -> str:
    lines = [line[1:].strip() for line in diff.splitlines() if line.startswith(sign) and not line.startswith(sign * 3)]
    return " ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
