"""Memory by program with its children, as PSS: shared pages are divided."""

from collections.abc import Collection, Iterator, Mapping

import psutil

LIMIT_BYTES = 1_200_000_000
"""Budget of the whole installation."""


def by_program(pids: Mapping[str, int]) -> dict[str, int]:
    """Bytes, largest first."""
    leaders = {pid for pid in pids.values() if pid}
    sizes = {name: sum(map(_size, _tree(pid, leaders))) for name, pid in pids.items() if pid}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _tree(pid: int, leaders: Collection[int]) -> Iterator[psutil.Process]:
    """With descendants, without other programs."""
    try:
        process = psutil.Process(pid)
        children = process.children()
    except psutil.Error:
        return
    yield process
    for child in children:
        if child.pid not in leaders:
            yield from _tree(child.pid, leaders)


def _size(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
    except psutil.Error:
        return 0
    # Only Linux has PSS.
    return int(getattr(memory, "pss", memory.rss))
