"""Kong's regular expressions (Rust's dialect) in Python's."""

import re

_NAMED_GROUP = re.compile(r"\(\?<(?![=!])")


def compile_path(pattern: str) -> re.Pattern[str]:
    """`pattern`: without its `~`, matched from the start. Raises re.error."""
    pattern = _NAMED_GROUP.sub("(?P<", pattern)
    if pattern.endswith("$") and not pattern.endswith(r"\$"):
        # `$` also matches before a final line feed, which %0A could smuggle in.
        pattern = pattern[:-1] + r"\Z"
    return re.compile(pattern)
