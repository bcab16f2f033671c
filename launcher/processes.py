"""The processes of this installation, whoever watches them: found by what they carry, and ended when nobody does.

They are known by the installation's token in their environment, which every process inherits from the supervisor: no
name and no recorded pid can belong to somebody else's process by accident, and children of children are found too.
"""

from contextlib import suppress

import psutil

TOKEN_VARIABLE = "SOUK_INSTALLATION"  # noqa: S105 - the name of a variable


def find(token: str) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _token_of(process) == token]


def end(token: str, patience_seconds: float = 10.0) -> None:
    """Ask all of them to stop, kill what does not."""
    processes = find(token)
    for process in processes:
        with suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(processes, timeout=patience_seconds)
    stubborn = find(token)
    for process in stubborn:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=patience_seconds)


def listening_ports(token: str) -> set[int]:
    """TCP ports on which one of them accepts connections."""
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
