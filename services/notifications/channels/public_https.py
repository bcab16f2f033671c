"""HTTPS to public addresses only, for URLs from users: even an allowed name may point anywhere."""

import socket
from ipaddress import ip_address
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError
from urllib3.util.connection import create_connection


def session() -> requests.Session:
    made = requests.Session()
    # No proxy, which would resolve the name itself, and no .netrc credentials.
    made.trust_env = False
    made.mount("https://", _Adapter())
    return made


def is_public(address: str) -> bool:
    found = ip_address(address)
    return found.is_global and not found.is_multicast


class _Connection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        try:
            resolved = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            addresses = [str(sockaddr[0]) for *_, sockaddr in resolved]
            if not all(map(is_public, addresses)):
                raise NewConnectionError(self, "The name has an address that is not public.")
            return create_connection((addresses[0], self.port or 443), self.timeout, socket_options=self.socket_options)
        except OSError as error:
            raise NewConnectionError(self, type(error).__name__) from None


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}
