"""`Idempotency-Key`: a POST sent again gets the first one's answer (see `chassis/answers.py`) and does nothing."""

from dataclasses import dataclass

from chassis.problems import Malformed, Problem

HEADER = "Idempotency-Key"
LONGEST_KEY = 128


class KeyMissing(Problem):
    type, status, title = "/problems/idempotency-key-missing", 400, "An Idempotency-Key is needed"


class KeyReused(Problem):
    type, status, title = (
        "/problems/idempotency-key-reused",
        422,
        "The Idempotency-Key belongs to another request",
    )


@dataclass(frozen=True)
class Answer:
    """A response as it is kept: repeating it needs nothing else."""

    status: int
    headers: dict[str, str]
    body: bytes


def checked(key: str | None, is_required: bool) -> str | None:
    """The key as sent. Raises KeyMissing, or Malformed when it is empty, too long or not printable ASCII."""
    if key is None:
        if is_required:
            raise KeyMissing(f"Send {HEADER}, a value of your own that is new for each new request.", field=HEADER)
        return None
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise Malformed(f"{HEADER} must be 1 to {LONGEST_KEY} printable ASCII characters.", field=HEADER)
    return key
