"""supervisord, which also ends the children of a killed program.

A server killed by SIGKILL leaves its children (granian's workers, for one) holding its port. Each program leads a process
group, so the rest of the group is killed before the program restarts.
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
