"""Finds and ends an installation's processes by the token in their environment, which orphans keep."""

from contextlib import suppress

import psutil

TOKEN_VARIABLE = "SOUK_INSTALLATION"  # noqa: S105 - the name of a variable


def find(token: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _token_of(process) == token]


def end(token: str, timeout_seconds: float = 10.0) -> None:
    """Kills those that remain."""
    processes = find(token)
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(processes, timeout=timeout_seconds)
    remaining = find(token)
    for process in remaining:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(remaining, timeout=timeout_seconds)


def listening_ports(token: str) -> set[int]:
    ports = set()
    for process in find(token):
        with suppress(psutil.Error):
            ports |= {each.laddr.port for each in process.net_connections("tcp") if each.status == psutil.CONN_LISTEN}
    return ports


def _token_of(process: psutil.Process) -> str | None:
    try:
        environment: dict[str, str] = process.environ()
    except (psutil.Error, OSError):
        return None
    return environment.get(TOKEN_VARIABLE)
