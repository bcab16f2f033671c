"""Paths as Kong treats them: the matched path is the one sent."""

import re

RESERVED = "!*'();:@&=+$,/?%#[]"
"""Kept escaped, as their meaning differs."""

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%00|\x00")


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
    return escape[0].upper() if character in RESERVED else character


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
