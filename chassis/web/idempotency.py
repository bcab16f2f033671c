"""The `Idempotency-Key` header (see `chassis/storage/idempotency_keys.py`)."""

from chassis.base.problems import Malformed, Problem
from chassis.storage.responses import HEADER

MAX_KEY_LENGTH = 128
KEY_SCHEMA = {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH, "pattern": "^[ -~]+$"}


class KeyMissing(Problem):
    type, status, title = "/problems/idempotency-key-missing", 400, "Idempotency-Key required"


def checked(key: str | None, is_required: bool) -> str | None:
    """Raises KeyMissing, Malformed."""
    if key is None:
        if is_required:
            raise KeyMissing(f"Send {HEADER} with a value that is unique to each new request.", field=HEADER)
        return None
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise Malformed(f"{HEADER} must be 1 to {MAX_KEY_LENGTH} printable ASCII characters.", field=HEADER)
    return key
