"""The supervisor process itself: `supervisord`, which also ends what a killed program leaves behind.

A server killed with SIGKILL cannot end its own children (granian's workers, for one), and they would hold its port.
Each program leads a process group, so when the leader is gone the rest of its group is killed before it starts again.
"""

import os
import signal
from contextlib import suppress

from supervisor import supervisord
from supervisor.process import Subprocess

_finish = Subprocess.finish


def finish(process: Subprocess, pid: int, status: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    _finish(process, pid, status)


if __name__ == "__main__":
    Subprocess.finish = finish
    supervisord.main()
