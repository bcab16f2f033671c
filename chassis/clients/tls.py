"""TLS between services, where `internal_ca_file` asks for it."""

import ssl
from functools import cache
from typing import Any

import urllib3


def pool(service: str, url: str, ca_file: str, **options: Any) -> urllib3.HTTPConnectionPool:
    """Connections to one instance. With a CA, only to what proves to be the service, whatever scheme a catalogue names."""
    if not ca_file:
        return urllib3.connection_from_url(url, **options)
    host = urllib3.util.parse_url(url)._replace(scheme="https").url
    return urllib3.connection_from_url(host, ssl_context=_context(ca_file), server_hostname=service, **options)


@cache
def _context(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
