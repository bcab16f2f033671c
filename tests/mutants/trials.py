"""Tests run again and again, each time only those that execute the line with the mistake.

Each run is a fork of this process, which has imported everything that is not the project's own.
"""

import ast
import contextlib
import importlib.util
import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from coverage import CoverageData

OWN = {"bench", "chassis", "contracts", "devservers", "launcher", "operators", "services", "tests"}
OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]


class Report:
    """A plugin that runs the tests named in `chosen` in that order (None: all), and writes how they went."""

    def __init__(self, path: Path, chosen: Sequence[str] | None = None) -> None:
        self.path, self.chosen = path, chosen
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.chosen is not None:
            place = {name: index for index, name in enumerate(self.chosen)}
            items[:] = sorted((item for item in items if item.nodeid in place), key=lambda item: place[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.seconds[report.nodeid] = report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        modules = [name for name in sys.modules if name.partition(".")[0] not in OWN]
        self.path.write_text(json.dumps({"seconds": self.seconds, "failed": self.failed, "modules": modules}))


class Trials:
    """The tests in `paths`, tried on mistakes in `file`. Exits when they fail without one."""

    def __init__(self, file: str, paths: Sequence[str], folder: Path) -> None:
        self._text, self._report = Path(file).read_text(), folder / "report.json"
        coverage = folder / "coverage"
        os.environ["COVERAGE_FILE"] = str(coverage)
        measure = [f"--cov={Path(file).parent}", "--cov-context=test", "--cov-report="]
        if not self._passes([*paths, *measure], Report(self._report), seconds=3600):
            sys.exit(f"The tests of {file} fail without a mistake:\n{Path('output.txt').read_text()}")
        report = self._read()
        self._seconds: dict[str, float] = report["seconds"]
        for name in report["modules"]:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        data = CoverageData(str(coverage))
        data.read()
        self._contexts = data.contexts_by_lineno(str(Path(file).resolve()))
        self._kills: Counter[str] = Counter()
        # Bytecode of the same second and size as the mistake's would hide it.
        sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
        Path(importlib.util.cache_from_source(file)).unlink(missing_ok=True)

    def noticed_by(self, line: int) -> str | None:
        """The test that fails with a mistake at `line`."""
        tests = self._executing(line)
        # Those that have noticed others come first.
        tests.sort(key=lambda test: self._seconds[test] / (1 + self._kills[test]))
        files = dict.fromkeys(test.partition("::")[0] for test in tests)
        slowest = max((self._seconds[test] for test in tests), default=0)
        total = sum(self._seconds[test] for test in tests)
        timeout = f"--timeout={30 + 5 * slowest:.0f}"
        if self._passes([*files, timeout], Report(self._report, tests), seconds=120 + 3 * total):
            return None
        failed = self._read().get("failed", [])
        self._kills.update(failed)
        return failed[0] if failed else "no test in particular: they did not start, or not end"

    def _executing(self, line: int) -> list[str]:
        """All tests for what runs at import or in another process, which coverage cannot tell apart."""
        contexts = {context for each in _statement(self._text, line) for context in self._contexts.get(each, ())}
        tests = {context.rpartition("|")[0] for context in contexts} & self._seconds.keys()
        return list(self._seconds if not tests or "" in contexts else tests)

    def _passes(self, arguments: Sequence[str], report: Report, seconds: float) -> bool:
        self._report.unlink(missing_ok=True)
        child = multiprocessing.get_context("fork").Process(target=_run, args=([*OPTIONS, *arguments], report))
        child.start()
        child.join(seconds)
        # Programs that its tests started are of its group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid or 0, signal.SIGKILL)
        child.join()
        return child.exitcode == 0

    def _read(self) -> dict[str, Any]:
        return json.loads(self._report.read_text()) if self._report.exists() else {}


def _run(arguments: Sequence[str], report: Report) -> NoReturn:
    os.setsid()
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    sys.path.insert(0, os.getcwd())
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
        del sys.modules[name]
    os._exit(pytest.main([*arguments], plugins=[report]))


def _statement(text: str, line: int) -> range:
    """Lines of the innermost statement at `line`: of one with a body, only its head."""
    heads = [_head(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    return max((head for head in heads if line in head), key=lambda head: head.start, default=range(line, line + 1))


def _head(node: ast.stmt) -> range:
    body = getattr(node, "body", None)
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    return range(first, body[0].lineno if body else (node.end_lineno or node.lineno) + 1)
