"""Folders in use. Whoever makes one locks it, which tells what is being made from what a killed program has left."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Remove = Callable[[Path], object]


@contextmanager
def held(folder: Path, wait: bool = True) -> Iterator[None]:
    """Until the block or the program ends. wait: else it raises BlockingIOError while another holds it."""
    descriptor = _lock(folder, wait)
    try:
        yield
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    try:
        with held(folder, wait=False):
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False


@contextmanager
def temporary(parent: Path, prefix: str, remove: Remove = shutil.rmtree) -> Iterator[Path]:
    """A new folder, removed afterwards. Before, what killed programs have left."""
    sweep(parent, prefix, remove)
    folder, descriptor = _new(parent, prefix)
    try:
        yield folder
    finally:
        # What cannot be removed now goes with the next.
        with suppress(OSError):
            remove(folder)
        os.close(descriptor)


def sweep(parent: Path, prefix: str, remove: Remove = shutil.rmtree) -> None:
    """Remove the folders that nobody holds."""
    for folder in parent.glob(f"{prefix}*"):
        with suppress(BlockingIOError, FileNotFoundError, NotADirectoryError):
            # Others may write to the parent, too.
            if folder.lstat().st_uid == os.getuid():
                with held(folder, wait=False):
                    remove(folder)


# --- inside


def _new(parent: Path, prefix: str) -> tuple[Path, int]:
    """Another program may sweep it before it is locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with suppress(FileNotFoundError):
            descriptor = _lock(folder, wait=True)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)


def _lock(folder: Path, wait: bool) -> int:
    # Also on NFS, where a file would have to be open for writing: locks on its folders are this machine's own, as they are.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
