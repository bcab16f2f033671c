"""Responses stored for replay."""

from dataclasses import dataclass

from chassis.base.problems import Problem

HEADER = "Idempotency-Key"


class KeyReused(Problem):
    type, status, title = "/problems/idempotency-key-reused", 422, "Idempotency key already used"


@dataclass(frozen=True)
class StoredResponse:
    status: int
    headers: dict[str, str]
    body: bytes
