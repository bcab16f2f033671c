"""Kong's regular expressions (Rust's dialect) in Python's."""

import re

_NAMED_GROUP = re.compile(r"\(\?<(?![=!])")


_LITERAL = re.compile(r"[A-Za-z0-9/_~-]*")


def literal_start(pattern: str) -> str:
    """What each match of `pattern`, without its `~`, begins with."""
    if "|" in pattern:
        return ""
    found = _LITERAL.match(pattern)
    literal = found[0] if found else ""
    is_optional = pattern[len(literal) : len(literal) + 1] in ("*", "?", "{")
    return literal[:-1] if is_optional else literal


def compile_path(pattern: str) -> re.Pattern[str]:
    """`pattern`: without its `~`, matched from the start. Raises re.error."""
    pattern = _NAMED_GROUP.sub("(?P<", pattern)
    if pattern.endswith("$") and not pattern.endswith(r"\$"):
        # `$` also matches before a final line feed, which %0A could smuggle in.
        pattern = pattern[:-1] + r"\Z"
    return re.compile(pattern)
