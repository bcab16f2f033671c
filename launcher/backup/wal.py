"""What a folder has of PostgreSQL's write-ahead log, and whether it can be applied."""

import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

SEGMENT = 16 * 1024 * 1024
PARTIAL = ".partial"
"""Ends the name of the segment that is still growing."""

_NAME = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?")
_SEGMENTS_PER_FILE_ID = 2**32 // SEGMENT
_SYSTEM_AT, _SYSTEM = 24, struct.Struct("<Q")
"""The cluster's identifier, in a segment's first page."""


@dataclass(frozen=True)
class Segment:
    path: Path
    timeline: int
    number: int

    @property
    def is_partial(self) -> bool:
        return self.path.name.endswith(PARTIAL)

    @property
    def end(self) -> int:
        return (self.number + 1) * SEGMENT

    @property
    def name(self) -> str:
        """As PostgreSQL asks for it."""
        return self.path.name.removesuffix(PARTIAL)

    def is_unmade(self) -> bool:
        """PostgreSQL's receiver fills a segment with zeros before it writes to it; killed in between, it leaves a short one."""
        try:
            return self.is_partial and self.path.stat().st_size < SEGMENT and not self.path.read_bytes().strip(b"\0")
        except FileNotFoundError:
            return False

    def system(self) -> str:
        """Identifier of the cluster that wrote it; 0 before anything is written."""
        with self.path.open("rb") as file:
            file.seek(_SYSTEM_AT)
            content = file.read(_SYSTEM.size)
        return str(_SYSTEM.unpack(content)[0]) if len(content) == _SYSTEM.size else ""


def name(timeline: int, number: int) -> str:
    """Of a segment's file."""
    return f"{timeline:08X}{number // _SEGMENTS_PER_FILE_ID:08X}{number % _SEGMENTS_PER_FILE_ID:08X}"


def number_of(name: str) -> int | None:
    """Of a segment, from its file's name."""
    if match := _NAME.fullmatch(name):
        return int(match[2], 16) * _SEGMENTS_PER_FILE_ID + int(match[3], 16)
    return None


def segments(folder: Path, timeline: int = 0, since: int = 0) -> list[Segment]:
    """By timeline and number. A partial one gives way to itself complete, and is none before it has its size.

    timeline: 0 for all. since: a position.
    """
    found: dict[tuple[int, int], Segment] = {}
    for path in sorted(folder.iterdir(), key=lambda path: path.name.endswith(PARTIAL), reverse=True):
        if (number := number_of(path.name)) is not None:
            own = int(path.name[:8], 16)
            segment = Segment(path, own, number)
            if timeline in (0, own) and number >= segment_of(since) and not segment.is_unmade():
                found[own, number] = segment
    return [found[key] for key in sorted(found)]


def drop_unmade(folder: Path) -> None:
    """Short partial segments, which PostgreSQL's receiver refuses to continue: it receives them anew from their beginning."""
    for path in folder.glob(f"*{PARTIAL}"):
        if number_of(path.name) is not None and path.stat().st_size < SEGMENT:
            path.unlink()


def segment_of(position: int) -> int:
    return position // SEGMENT


def faults(binaries: Path, folder: Path, timeline: int, start: int, until: int, system: str) -> list[str]:
    """What keeps a timeline's log from `start` on from being applied. until: where it has to reach at least."""
    own = segments(folder, timeline, start)
    if not own or own[0].number != segment_of(start):
        return [f"the log does not begin where the backup needs it ({position_text(start)})"]
    found = [*_gaps(own), *_strangers(own, system)]
    return found or _unreadable(binaries, own, start, until)


def position_text(position: int) -> str:
    """As PostgreSQL writes it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:08X}"


def position_of(text: str) -> int:
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


# --- inside


def _gaps(found: Sequence[Segment]) -> Iterator[str]:
    for before, after in pairwise(found):
        if after.number != before.number + 1:
            yield f"the log has a gap between {before.name} and {after.name}"
        elif before.is_partial:
            yield f"{before.path.name} was never completed, though the log goes on"


def _strangers(found: Sequence[Segment], system: str) -> Iterator[str]:
    for segment in found:
        size = segment.path.stat().st_size
        if size != SEGMENT:
            yield f"{segment.path.name} has {size:,} bytes, not {SEGMENT:,}"
        elif segment.system() not in (system, "0"):
            yield f"{segment.path.name} is another installation's"


def _unreadable(binaries: Path, found: Sequence[Segment], start: int, until: int) -> list[str]:
    """pg_waldump checks every record's checksum, and that each follows the one before."""
    whole = max((segment.end for segment in found if not segment.is_partial), default=0)
    with tempfile.TemporaryDirectory(prefix="souk-log-") as name:
        for segment in found:
            (Path(name) / segment.name).symlink_to(segment.path)
        options = ["--quiet", f"--path={name}", f"--timeline={found[0].timeline}"]
        span = [f"--start={position_text(start)}", f"--end={position_text(max(until, whole))}"]
        outcome = subprocess.run(
            [binaries / "pg_waldump", *options, *span], capture_output=True, text=True, check=False
        )
    reason = outcome.stderr.strip().removeprefix("pg_waldump: ")
    return [f"the log cannot be read: {reason}"] if outcome.returncode else []
