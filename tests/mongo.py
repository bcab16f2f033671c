"""A proxy to MongoDB that can also respond with errors itself, as a server does after a failover or without our rights."""

import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import bson

from tests.wire import Wire

WRITES = ("insert", "update", "delete", "findAndModify")
ALL = (*WRITES, "find", "aggregate", "count", "getMore", "ping")
AUTHENTICATION = ("saslStart", "saslContinue")

READ_ONLY = {"ok": 0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary"}
SHUTTING_DOWN = {"ok": 0, "code": 91, "codeName": "ShutdownInProgress", "errmsg": "The server is shutting down"}

UNAUTHORIZED = {
    "ok": 0,
    "code": 13,
    "codeName": "Unauthorized",
    "errmsg": "not authorized on products to execute command { find: ... }",
}
WRONG_PASSWORD = {"ok": 0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed."}
TIMED_OUT = {"ok": 0, "code": 50, "codeName": "MaxTimeMSExpired", "errmsg": "operation exceeded time limit"}
FULL = {"ok": 0, "code": 14031, "codeName": "OutOfDiskSpace", "errmsg": "No space left"}

_OP_MSG = 2013
_DOCUMENT = 21
"""Where the command begins: after the header, the flags and the section's kind."""


class MongoWire(Wire):
    def __init__(self, target: tuple[str, int]) -> None:
        self._refused: Collection[str] = ()
        self._error: dict[str, Any] = {}
        super().__init__(target)

    def refuse(self, commands: Collection[str], error: dict[str, Any]) -> None:
        self._error, self._refused = error, commands

    def recover(self) -> None:
        self.refuse((), {})
        self.mend()
        self.thaw()

    def _pass(self, source: socket.socket, sink: socket.socket, is_response: bool) -> None:
        if is_response:
            super()._pass(source, sink, is_response)
            return
        with suppress(OSError, EOFError):
            while True:
                message = _message(source)
                if self._refused and _command(message) in self._refused:
                    source.sendall(_reply(message, self._error))
                else:
                    sink.sendall(message)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _message(source: socket.socket) -> bytes:
    head = _read(source, 4)
    return head + _read(source, struct.unpack("<i", head)[0] - 4)


def _read(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := source.recv(size - len(data))):
            raise EOFError
        data += more
    return data


def _command(message: bytes) -> str:
    if struct.unpack_from("<i", message, 12)[0] != _OP_MSG:
        return ""
    (size,) = struct.unpack_from("<i", message, _DOCUMENT)
    return next(iter(bson.decode(message[_DOCUMENT : _DOCUMENT + size])))


def _reply(message: bytes, content: dict[str, Any]) -> bytes:
    body = struct.pack("<IB", 0, 0) + bson.encode(content)
    (request_id,) = struct.unpack_from("<i", message, 4)
    return struct.pack("<iiii", 16 + len(body), 0, request_id, _OP_MSG) + body
