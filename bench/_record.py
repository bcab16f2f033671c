"""`python -m bench._record NAME ...`: run a benchmark and put what it prints into docs/performance.md."""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
import psycopg2

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"
PREFACE = """# Performance

Measured on one machine by `./souk bench NAME --record`, each in one run with its baseline. Absolute figures are the machine's and its
load's; ratios travel further. No comparable project publishes figures to set beside them.
"""
LIBRARIES = ("granian", "flask", "sqlalchemy", "psycopg2-binary", "kombu", "celery", "pymongo", "redis", "uvloop")
_SECTION = re.compile(r"^## ", re.MULTILINE)


def main() -> int:
    name, arguments = sys.argv[1], sys.argv[2:]
    started, load = datetime.now(UTC), _load()
    process = subprocess.Popen(
        [sys.executable, "-m", f"bench.{name}", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "110"},
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    code = process.wait()
    if code == 0:
        command = " ".join(["./souk bench", name.replace("_", "-"), *arguments])
        printed = "\n".join(lines).strip()
        about = f"{started:%Y-%m-%d %H:%M} UTC, load average {load} before and {_load()} after."
        section = f"## {command}\n\n{about}\n\n```text\n{printed}\n```\n"
        before = DOCUMENT.read_text() if DOCUMENT.exists() else ""
        DOCUMENT.write_text(with_section(before, _machine(), section))
    return code


def with_section(document: str, machine: str, section: str) -> str:
    """`document` with this section in the place of the same benchmark's."""
    kept = [f"## {each.strip()}\n" for each in _SECTION.split(document)[1:] if not each.startswith("The machine")]
    others = [each for each in kept if _benchmark(each) != _benchmark(section)]
    return "\n".join([PREFACE, machine, *sorted([*others, section])])


def _benchmark(section: str) -> str:
    """Of "## ./souk bench NAME ..."."""
    return section.split()[3]


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"## The machine\n\n{os.cpu_count()} cores ({_processor()}), {memory:.0f} GB of memory, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}, PostgreSQL {_postgres()}; {libraries}.\n"
    )


def _processor() -> str:
    found = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _postgres() -> str:
    with psycopg2.connect(os.environ["SOUK_TEST_POSTGRES_URL"]) as connection:
        major, minor = divmod(connection.server_version, 10_000)
        return f"{major}.{minor}"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    sys.exit(main())
