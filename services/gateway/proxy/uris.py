"""The upstream's URI."""

import re
from urllib.parse import quote

from services.gateway.config.paths import RESERVED

_SENDABLE = re.compile(r"[A-Za-z0-9\-._~" + re.escape(RESERVED) + "]*")


def escape(path: str) -> str:
    if _SENDABLE.fullmatch(path):
        return path
    return quote(path, safe=RESERVED, errors="surrogateescape")


def query_suffix(query: str, has_query: bool) -> str:
    """Keeps a bare `?`."""
    return "?" + query if has_query else ""


def join(service_path: str, path: str, matched: str, strip: bool) -> str:
    """Kong's path handling v0."""
    base = service_path or "/"
    if not strip:
        return base if path == "/" and not base.endswith("/") else base.rstrip("/") + path
    rest = path[len(matched) :]
    if rest:
        return base.rstrip("/") + "/" + rest.removeprefix("/")
    if base == "/":
        return "/"
    bare = base.removesuffix("/")
    keeps_slash = path.endswith("/") and (len(path) > 1 or base.endswith("/"))
    return bare + "/" if keeps_slash else bare
