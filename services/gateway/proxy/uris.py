"""Paths as Kong sees them: normalised before they are matched, joined to the service's path, escaped before they are sent.

What is matched is what is sent: a path cannot say one thing to a route and another to the service behind it.
"""

import re
from urllib.parse import quote

_RESERVED = "!*'();:@&=+$,/?%#[]"
"""Their escapes mean something else than they do, so those are kept; all other escapes are decoded."""

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|\x00")
_SENDABLE = re.compile(r"[A-Za-z0-9\-._~" + re.escape(_RESERVED) + "]*")


class BadPath(ValueError):
    """Not a path that HTTP allows."""


def normalise(path: str) -> str:
    """Escapes decoded except those of reserved characters, `.` and `..` resolved, `//` merged. Raises BadPath.

    Bytes that are not UTF-8 become surrogates, which `escape` turns back.
    """
    if not path.startswith("/") or "#" in path:
        raise BadPath("The path must start with a slash, and a fragment is not sent.")
    if "%" in path or not path.isascii():
        if _BAD_ESCAPE.search(path):
            raise BadPath("The path has a broken escape.")
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
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    ends_in_slash = path.endswith(("/", "/.", "/..")) and bool(segments)
    return "/" + "/".join(segments) + ("/" if ends_in_slash else "")


def escape(path: str) -> str:
    """A normalised path as it goes over the wire."""
    if _SENDABLE.fullmatch(path):
        return path
    return quote(path, safe=_RESERVED, errors="surrogateescape")


def query_suffix(query: str, is_there: bool) -> str:
    """`?` and the query byte for byte, a bare `?` too."""
    return "?" + query if is_there else ""


def join(service_path: str, path: str, matched: str, strip: bool) -> str:
    """The upstream's path: the service's own, then what the route left of `path`, with one slash between (path handling v0)."""
    base = service_path or "/"
    if not strip:
        return base if path == "/" and not base.endswith("/") else base.rstrip("/") + path
    rest = path[len(matched) :]
    if rest:
        return base.rstrip("/") + "/" + rest.removeprefix("/")
    if base == "/":
        return "/"
    bare = base.removesuffix("/")
    asked_for_slash = path.endswith("/") and (len(path) > 1 or base.endswith("/"))
    return bare + "/" if asked_for_slash else bare
