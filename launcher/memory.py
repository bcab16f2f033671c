"""How much memory each program takes, its children included, fairly: pages that several share are divided among them."""

from collections.abc import Collection, Iterator, Mapping

import psutil

LIMIT_BYTES = 1_200_000_000
"""What the whole of Souk may take on one machine."""


def by_program(pids: Mapping[str, int]) -> dict[str, int]:
    """Proportional set size in bytes, of each running program and what it started itself, largest first."""
    leaders = {pid for pid in pids.values() if pid}
    sizes = {name: sum(map(_size, _tree(pid, leaders))) for name, pid in pids.items() if pid}
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _tree(pid: int, leaders: Collection[int]) -> Iterator[psutil.Process]:
    """A process and all below it, without other programs and what is below those."""
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
    # Only Linux knows the proportional size; elsewhere shared pages count for each process.
    return int(getattr(memory, "pss", memory.rss))
