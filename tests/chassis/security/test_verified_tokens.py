"""A token that was verified before is refused as soon as a fresh look would refuse it."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from chassis.base import clock
from chassis.base.clock import LEEWAY
from chassis.base.problems import Unauthorized
from chassis.base.settings import Settings
from chassis.security import auth, revocations, tokens
from tests.chassis.security.test_keys import SECRET, entry, file
from tests.conftest import server_url

__all__ = ["file"]

DEADLINE_SECONDS = 30


def refusal(token: str, settings: Settings) -> str:
    """Verify until refused."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        try:
            tokens.verify(token, settings)
        except Unauthorized as refused:
            return refused.detail
        time.sleep(0.02)
    raise TimeoutError


def test_it_expires() -> None:
    settings = Settings(jwt_keys={"k": SECRET})
    expires_at = clock.now() - LEEWAY + timedelta(seconds=3)
    token = tokens.sign(uuid4(), ["customer"], settings, repeated=(uuid4().hex, expires_at)).text
    first = tokens.verify(token, settings)
    assert tokens.verify(token, settings) is first
    assert refusal(token, settings) == "The token has expired."


@pytest.mark.parametrize(
    ("rotated", "detail"),
    [
        ({"new": entry(SECRET + "!")}, "The token is signed with an unknown key."),
        ({"old": entry(SECRET + "!")}, "The token is invalid."),
        (
            {"new": entry(SECRET + "!"), "old": entry(SECRET, timedelta(seconds=-1))},
            "The token is signed with an unknown key.",
        ),
    ],
    ids=["removed", "replaced", "expired"],
)
def test_its_key_is_rotated_out(file: Callable[..., Path], rotated: dict[str, Any], detail: str) -> None:
    settings = Settings(keys_file=file({"old": entry(SECRET)}))
    token = tokens.sign(uuid4(), ["customer"], settings).text
    tokens.verify(token, settings)
    file(rotated)
    assert refusal(token, settings) == detail


def test_its_session_is_revoked() -> None:
    settings = Settings(jwt_keys={"k": SECRET}, redis_url=server_url("REDIS"))
    token = tokens.sign(uuid4(), ["customer"], settings)
    for _ in range(2):
        auth.admit(auth.CUSTOMER, f"Bearer {token.text}", None, settings)
    revocations.publish({token.id: token.expires_at}, settings)
    with pytest.raises(Unauthorized, match="revoked"):
        auth.admit(auth.CUSTOMER, f"Bearer {token.text}", None, settings)


@pytest.mark.parametrize("other", [{"jwt_issuer": "elsewhere"}, {"jwt_audience": "elsewhere"}])
def test_other_settings_do_not_share_it(other: dict[str, str]) -> None:
    settings = Settings(jwt_keys={"k": SECRET})
    token = tokens.sign(uuid4(), ["customer"], settings).text
    tokens.verify(token, settings)
    with pytest.raises(Unauthorized):
        tokens.verify(token, Settings(jwt_keys={"k": SECRET}, **other))


def test_a_signature_is_part_of_it() -> None:
    settings = Settings(jwt_keys={"k": SECRET})
    token = tokens.sign(uuid4(), ["customer"], settings).text
    tokens.verify(token, settings)
    with pytest.raises(Unauthorized):
        tokens.verify(token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB"), settings)
