"""Finds and ends an installation's processes by the token in their environment, which orphans keep."""

from contextlib import suppress

import psutil

TOKEN_VARIABLE = "SOUK_INSTALLATION"  # noqa: S105 - the name of a variable

PROGRAM_VARIABLE = "SUPERVISOR_PROCESS_NAME"
"""Set by the supervisor."""

TITLE = "souk: "
"""Of a forked program; its name follows."""


def find(token: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _environment(process).get(TOKEN_VARIABLE) == token]


def programs(token: str) -> dict[str, psutil.Process]:
    """The first process of each, by the program's name."""
    found: dict[str, psutil.Process] = {}
    for process in sorted(find(token), key=lambda process: process.create_time(), reverse=True):
        if name := _forked(process) or _environment(process).get(PROGRAM_VARIABLE):
            found[name] = process
    return found


def end(token: str, timeout_seconds: float = 10.0) -> None:
    """Kills those that remain."""
    processes = find(token)
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
            # A stopped one, too.
            process.resume()
    psutil.wait_procs(processes, timeout=timeout_seconds)
    remaining = find(token)
    for process in remaining:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(remaining, timeout=timeout_seconds)


def is_stopped(pid: int, token: str) -> bool:
    """By SIGSTOP. False for another installation's process."""
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_STOPPED and _environment(process).get(TOKEN_VARIABLE) == token
    return False


def listening_ports(token: str) -> set[int]:
    ports = set()
    for process in find(token):
        with suppress(psutil.Error):
            ports |= {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return ports


def _forked(process: psutil.Process) -> str | None:
    """Its environment is the supervisor's; see forking.py."""
    with suppress(psutil.Error):
        title = " ".join(process.cmdline()).strip()
        return title.removeprefix(TITLE) if title.startswith(TITLE) else None
    return None


def _environment(process: psutil.Process) -> dict[str, str]:
    """Empty for another user's process."""
    try:
        environment: dict[str, str] = process.environ()
    except (psutil.Error, OSError):
        return {}
    return environment
