"""This process's accepted connections, which granian does not show. Linux only; elsewhere there are none."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

_FOLDER = "/proc/self/fd"
_LAST_SENT, _LAST_RECEIVED = 44, 52
"""Offsets in Linux' tcp_info of tcpi_last_data_sent and tcpi_last_data_recv, in milliseconds ago."""

_INFO_BYTES = 60


class Connection(NamedTuple):
    descriptor: int
    client: tuple[str, int]


def awaiting_response(port: int) -> Iterator[Connection]:
    """Those to `port` on which the last data went to us."""
    for name in os.listdir(_FOLDER) if os.path.isdir(_FOLDER) else []:
        with suppress(OSError), _socket(int(name)) as found:
            if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                client = found.getpeername()
                info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
                if _milliseconds(info, _LAST_SENT) >= _milliseconds(info, _LAST_RECEIVED):
                    yield Connection(int(name), client[:2])


def stop_reading(connection: Connection) -> None:
    """What waits for more from its client gets the end. Its descriptor may be another connection's by now."""
    with suppress(OSError), _socket(connection.descriptor) as found:
        if found.getpeername()[:2] == connection.client:
            found.shutdown(socket.SHUT_RD)


def _socket(descriptor: int) -> socket.socket:
    """A duplicate. Raises OSError for what is no socket."""
    return socket.socket(fileno=os.dup(descriptor))


def _milliseconds(info: bytes, offset: int) -> int:
    (value,) = struct.unpack_from("I", info, offset)
    return int(value)
