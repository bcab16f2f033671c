"""Request validation by hand: a library would take most of the bank's memory."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import abort, request
from werkzeug.datastructures import Headers

from devservers.bank.ledger import timestamp
from devservers.standin import InvalidField, whole_number

MAX_AMOUNT = 99_999_999
"""In minor units."""

MAX_PAGE_SIZE = 100
REFERENCE = re.compile(r"[A-Za-z0-9 ._:/#-]{1,200}")
REFERENCE_RULE = "must be 1 to 200 letters, digits, spaces or ._:/#-"
CURRENCY = re.compile(r"[A-Z]{3}")
KEY = re.compile(r"[\x21-\x7e]{1,255}")

Body = dict[str, Any]


@dataclass(frozen=True)
class ChargeOrder:
    amount: int
    currency: str
    source: str
    capture: bool
    reference: str


def body() -> Body:
    try:
        sent = request.get_json(force=True) if request.get_data() else {}
    except RecursionError:
        abort(400, "The JSON is nested too deeply.")
    return sent if isinstance(sent, dict) else abort(400, "The body is not a JSON object.")


def charge_order(sent: Body, tokens: Collection[str]) -> ChargeOrder:
    _only(sent, ("amount", "currency", "source", "capture", "reference"))
    if not isinstance(sent.get("capture"), bool):
        raise InvalidField("capture", "must be true to capture the money now, false to hold it")
    if not isinstance(sent.get("source"), str) or sent["source"] not in tokens:
        raise InvalidField("source", "is not a token of this bank")
    return ChargeOrder(
        amount=_amount(sent),
        currency=_text(sent, "currency", CURRENCY, "must be three capital letters"),
        source=sent["source"],
        capture=sent["capture"],
        reference=_text(sent, "reference", REFERENCE, REFERENCE_RULE),
    )


def optional_amount(sent: Body) -> int | None:
    _only(sent, ("amount",))
    return _amount(sent) if sent else None


def refund_order(sent: Body) -> tuple[int, str]:
    _only(sent, ("amount", "reference"))
    named = "reference" in sent
    return _amount(sent), _text(sent, "reference", REFERENCE, REFERENCE_RULE) if named else ""


def require_empty(sent: Body) -> None:
    _only(sent, ())


def page(arguments: Mapping[str, str]) -> tuple[int, int]:
    """Position to start after, and page size."""
    after = whole_number(arguments, "after", 0, range(2**63))
    return after, whole_number(arguments, "limit", 50, range(1, MAX_PAGE_SIZE + 1))


def filters(arguments: Mapping[str, str]) -> dict[str, str]:
    """By reference or ISO 8601 creation time: `since` inclusive, `until` exclusive."""
    given = {name: arguments[name] for name in ("reference", "since", "until") if name in arguments}
    return {name: text if name == "reference" else _time(name, text) for name, text in given.items()}


def _time(name: str, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return timestamp(moment)
    except (ValueError, OverflowError):
        raise InvalidField(name, "must be a time with its zone, such as 2026-01-31T12:00:00Z") from None


def idempotency_key(headers: Headers) -> str:
    key = headers.get("Idempotency-Key", "")
    if not KEY.fullmatch(key):
        abort(400, "The header Idempotency-Key is required: 1 to 255 visible ASCII characters.")
    return key


def _only(sent: Body, names: Collection[str]) -> None:
    for name in sent:
        if name not in names:
            raise InvalidField(name[:100], "is not a field of this request")


def _amount(sent: Body) -> int:
    value = sent.get("amount")
    # bool is a subclass of int.
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_AMOUNT:
        raise InvalidField("amount", f"must be a whole number of minor units from 1 to {MAX_AMOUNT}")
    return value


def _text(sent: Body, name: str, pattern: re.Pattern[str], reason: str) -> str:
    value = sent.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidField(name, reason)
    return value
