"""Processor time per program, children included."""

from collections.abc import Mapping
from contextlib import suppress

import psutil


def used(programs: Mapping[str, int]) -> dict[str, float]:
    """Seconds by program so far. `programs`: the first process of each."""
    return {name: _seconds(pid) for name, pid in programs.items()}


def _seconds(pid: int) -> float:
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
