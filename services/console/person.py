"""Who is logged in, by the tokens in their session."""

import base64
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from flask import session

REFRESH_BEFORE_SECONDS = 60


class Person:
    """Their claims as in the access token, which services verify; the console only chooses what to show by them."""

    def __init__(self, tokens: Mapping[str, Any]) -> None:
        self.token: str = tokens["access"]
        payload = self.token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        self.id: str = claims["sub"]
        self.roles = frozenset(claims["roles"])
        self.name: str = tokens["name"]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def is_staff(self) -> bool:
        return bool(self.roles & {"staff", "admin"})

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles


def current() -> Person | None:
    # Not kept: threads of a page share it, and one may renew it.
    tokens = session.get("tokens")
    return Person(tokens) if tokens else None


def required() -> Person:
    person = current()
    assert person is not None, "the page is open to anyone"
    return person


def begin(tokens: Mapping[str, Any], name: str) -> None:
    """A new session: nothing but the basket survives a login."""
    end(keep_basket=True)
    keep(tokens, name)


def keep(tokens: Mapping[str, Any], name: str) -> None:
    session["tokens"] = {
        "access": tokens["access_token"],
        "refresh": tokens["refresh_token"],
        "until": int(time.time()) + tokens["expires_in"],
        "name": name[:40],
    }


def is_stale() -> bool:
    return "tokens" in session and session["tokens"]["until"] - time.time() < REFRESH_BEFORE_SECONDS


def end(keep_basket: bool = False) -> None:
    basket = session.get("basket")
    session.clear()
    if basket and keep_basket:
        session["basket"] = basket


def form_token() -> str:
    """Every form holds it, every POST is checked for it."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(16)
    token: str = session["csrf"]
    return token


def is_form_token(token: str) -> bool:
    return "csrf" in session and secrets.compare_digest(token.encode(), session["csrf"].encode())
