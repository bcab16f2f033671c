"""Paths as Kong treats them: the matched path is the one sent."""

import re
from urllib.parse import quote

_RESERVED = "!*'();:@&=+$,/?%#[]"
"""Kept escaped, as their meaning differs."""

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|\x00")
_SENDABLE = re.compile(r"[A-Za-z0-9\-._~" + re.escape(_RESERVED) + "]*")


class BadPath(ValueError):
    """Not a valid path."""


def normalise(path: str) -> str:
    """Decode all but reserved characters, resolve `.` and `..`, merge `//`. Raises BadPath, also above the root.

    Non-UTF-8 bytes become surrogates, which `escape` reverses.
    """
    if not path.startswith("/") or "#" in path:
        raise BadPath("not an absolute path without a fragment")
    if "%" in path or not path.isascii():
        if _BAD_ESCAPE.search(path):
            raise BadPath("invalid escape")
        decoded = _ESCAPE.sub(_decode, path)
        path = decoded.encode("latin-1").decode("utf-8", "surrogateescape")
    if "//" in path or "/." in path:
        path = _resolve(path)
    return path


def _decode(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return escape[0].upper() if character in _RESERVED else character


def _resolve(path: str) -> str:
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if not segments:
                raise BadPath("above the root")
            segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    ends_in_slash = path.endswith(("/", "/.", "/..")) and bool(segments)
    return "/" + "/".join(segments) + ("/" if ends_in_slash else "")


def escape(path: str) -> str:
    if _SENDABLE.fullmatch(path):
        return path
    return quote(path, safe=_RESERVED, errors="surrogateescape")


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
