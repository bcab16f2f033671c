"""Kong's regular expressions (Rust's dialect) in Python's."""

import re

_NAMED_GROUP = re.compile(r"\(\?<(?![=!])")


def compile_path(pattern: str) -> re.Pattern[str]:
    """The pattern of a path, without its `~`; to be matched from the start. Raises re.error."""
    pattern = _NAMED_GROUP.sub("(?P<", pattern)
    if pattern.endswith("$") and not pattern.endswith(r"\$"):
        # Python's `$` lets a line feed pass, and %0A is one.
        pattern = pattern[:-1] + r"\Z"
    return re.compile(pattern)
