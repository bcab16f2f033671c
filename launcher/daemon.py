"""supervisord, which also ends a killed program's process group: granian's workers would hold the port."""

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
