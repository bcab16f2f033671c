"""The session: an encrypted cookie, so that the console stores nothing.

It holds the person's tokens, their basket, and the token of their forms. JavaScript cannot read it (HttpOnly), other sites' forms do not
send it (SameSite), and over TLS it never travels without (Secure, `__Host-`).
"""

import json
from collections.abc import Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from flask import Flask, Request, Response
from flask.sessions import SecureCookieSession, SessionInterface

LIFETIME_SECONDS = 30 * 24 * 3600
"""As refresh tokens live."""

MAX_BYTES = 4_000
"""What browsers keep."""


class EncryptedSessions(SessionInterface):
    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = MultiFernet([Fernet(key) for key in keys])

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession:
        sealed = request.cookies.get(_name(request), "")
        try:
            return SecureCookieSession(json.loads(self._keys.decrypt(sealed, LIFETIME_SECONDS)))
        except (InvalidToken, ValueError):
            return SecureCookieSession()

    def save_session(self, app: Flask, session: Any, response: Response) -> None:
        from flask import request

        if not session.modified:
            return
        where: dict[str, Any] = {"secure": request.is_secure, "httponly": True, "samesite": "Lax", "path": "/"}
        if not session:
            response.delete_cookie(_name(request), **where)
            return
        sealed = self._keys.encrypt(json.dumps(dict(session), separators=(",", ":")).encode()).decode()
        if len(sealed) > MAX_BYTES:
            raise ValueError(f"A session of {len(sealed)} bytes does not fit into a cookie.")
        response.set_cookie(_name(request), sealed, max_age=LIFETIME_SECONDS, **where)


def _name(request: Request) -> str:
    return "__Host-souk" if request.is_secure else "souk"
