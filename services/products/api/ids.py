"""Ids derived from caller and `Idempotency-Key`."""

from uuid import UUID, uuid4, uuid5

from flask import request

from chassis.security import auth
from chassis.storage.responses import HEADER
from chassis.web import idempotency


def new_id(is_required: bool = False) -> UUID:
    """Random without a key. Raises KeyMissing if `is_required`."""
    key = idempotency.checked(request.headers.get(HEADER), is_required)
    user_id = auth.caller().user_id
    return uuid4() if key is None or user_id is None else uuid5(user_id, key)
