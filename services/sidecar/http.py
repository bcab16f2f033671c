"""HTTP with limited time and size."""

import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

MAX_BYTES = 1_000_000


def exchange(
    method: str,
    url: str,
    timeout_seconds: float,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[int, bytes]:
    """Raises OSError or http.client.HTTPException."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout_seconds, context=tls)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_seconds)
    try:
        connection.request(method, url[len(f"{parts.scheme}://{parts.netloc}") :] or "/", body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read(MAX_BYTES)
    finally:
        connection.close()
