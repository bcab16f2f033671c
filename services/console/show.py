"""How pages show things."""

import re
import zlib
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from markupsafe import Markup

from services.console import person

SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£"}

TINTS = 6


def money(amount: Any, currency: str = "EUR") -> str:
    """€1,234.50; NBSP and the code where there is no symbol."""
    number = f"{float(amount):,.2f}"
    symbol = SYMBOLS.get(currency)
    return f"{symbol}{number}" if symbol else f"{number}\u00a0{currency}"


def moment(value: str | None) -> str:
    """29 Nov 2026, 14:03:21 (UTC)."""
    return datetime.fromisoformat(value).strftime("%-d %b %Y, %H:%M:%S") if value else ""


def clock(value: str | None) -> str:
    """14:03:21.250, for what happens in one minute."""
    return datetime.fromisoformat(value).strftime("%H:%M:%S.%f")[:-3] if value else ""


def tint(text: str) -> int:
    """Always the same of TINTS colours for one text."""
    return zlib.crc32(text.encode()) % TINTS


def short(identifier: str) -> str:
    return str(identifier)[:8]


def words(text: str) -> str:
    """Order confirmed, for order.confirmed."""
    return re.sub("[._-]+", " ", text).capitalize()


def web_address(text: str | None) -> str:
    """Empty unless http(s): no link runs a script."""
    return text if text and urlsplit(text).scheme in ("http", "https") else ""


def csrf() -> Markup:
    """For every form."""
    return _hidden("csrf", person.form_token())


def key() -> Markup:
    """For a form that creates something: sent twice, it creates one."""
    return _hidden("key", str(uuid4()))


def _hidden(name: str, value: str) -> Markup:
    return Markup('<input type="hidden" name="{}" value="{}">').format(name, value)


FILTERS: dict[str, Callable[..., Any]] = {
    each.__name__: each for each in (money, moment, clock, tint, short, words, web_address)
}
