"""Keys from a file that changes under a running process, and tokens of each algorithm."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from chassis.base.clock import LEEWAY
from chassis.base.problems import Unauthorized
from chassis.base.settings import Settings
from chassis.security import keys, tokens
from chassis.security.keys import InvalidKeys, Keyring

SECRET = "a secret that is long enough for HS256!"


def pem(private: Any) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public(private: Any) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


ED25519 = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)


def entry(material: str, ends_in: timedelta | None = None) -> dict[str, Any]:
    return {"material": material, "expires_at": (datetime.now(UTC) + ends_in).isoformat() if ends_in else None}


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a key file, as at once as a launcher does."""
    path = tmp_path / "keys.json"

    def write(jwt_keys: dict[str, Any], **rest: Any) -> Path:
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"jwt_keys": jwt_keys, **rest}))
        fresh.replace(path)
        return path

    return write


@pytest.mark.parametrize(
    ("private", "verifying", "algorithm"),
    [(SECRET, SECRET, "HS256"), (pem(RSA), public(RSA), "RS256"), (pem(ED25519), public(ED25519), "EdDSA")],
    ids=["HS256", "RS256", "EdDSA"],
)
def test_a_public_key_verifies_but_cannot_sign(private: str, verifying: str, algorithm: str) -> None:
    user_id, session_id = uuid4(), uuid4()
    token = tokens.sign(user_id, ["customer"], Settings(jwt_keys={"k": private}), session_id)
    assert jwt.get_unverified_header(token.text)["alg"] == algorithm
    elsewhere = Settings(jwt_keys={"k": verifying})
    claims = tokens.verify(token.text, elsewhere)
    assert (claims.user_id, claims.roles, claims.token_id, claims.session_id) == (
        user_id, {"customer"}, token.id, session_id,
    )  # fmt: skip
    if algorithm != "HS256":
        with pytest.raises(InvalidKeys, match="no key can sign"):
            tokens.sign(user_id, [], elsewhere)


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_a_public_key_does_not_work_as_an_hmac_secret(algorithm: str) -> None:
    """The classic forgery: an HMAC whose key is the text of the public key."""
    claims = {"iss": "souk-users", "aud": "souk", "sub": str(uuid4()), "jti": "1", "iat": 1, "exp": 2**33}

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    signed = part({"alg": algorithm, "kid": "k", "typ": "JWT"}) + b"." + part(claims)
    mac = hmac.new(public(RSA).encode(), signed, hashlib.sha256).digest() if algorithm == "HS256" else b""
    forged = (signed + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()
    with pytest.raises(Unauthorized):
        tokens.verify(forged, Settings(jwt_keys={"k": public(RSA)}))


def test_a_new_key_signs_and_verifies_at_once(file: Callable[..., Path], tmp_path: Path) -> None:
    settings = Settings(keys_file=file({"old": entry(SECRET)}))
    before = tokens.sign(uuid4(), [], settings).text
    file({"new": entry(pem(ED25519)), "old": entry(SECRET, timedelta(minutes=15))})
    issuer = Settings(keys_file=settings.keys_file)
    after = tokens.sign(uuid4(), [], issuer).text
    assert jwt.get_unverified_header(after)["kid"] == "new"
    for token in (after, before):
        tokens.verify(token, settings)


def test_a_process_signs_with_the_new_key_within_seconds(file: Callable[..., Path]) -> None:
    settings = Settings(keys_file=file({"old": entry(SECRET)}))
    assert keys.keyring(settings).now().signing.id == "old"
    file({"new": entry(SECRET + "!"), "old": entry(SECRET)})
    deadline = time.monotonic() + 10
    while keys.keyring(settings).now().signing.id != "new":
        assert time.monotonic() < deadline


def test_an_expired_key_verifies_nothing(file: Callable[..., Path]) -> None:
    settings = Settings(keys_file=file({"old": entry(SECRET)}))
    token = tokens.sign(uuid4(), [], settings).text
    ended = Settings(keys_file=file({"new": entry(SECRET + "!"), "old": entry(SECRET, -LEEWAY)}))
    with pytest.raises(Unauthorized, match="unknown key"):
        tokens.verify(token, ended)


def test_a_caller_may_use_either_of_two_keys_until_the_old_one_expires(file: Callable[..., Path]) -> None:
    def digest(key: str) -> str:
        return hashlib.sha256(key.encode()).hexdigest()

    path = file({"k": entry(SECRET)}, api_callers={"orders": {digest("first"): None}})
    ring = Keyring(Settings(keys_file=path))
    assert (ring.caller("first"), ring.caller("second")) == ("orders", None)
    soon, past = (datetime.now(UTC) + ends_in for ends_in in (timedelta(seconds=60), -LEEWAY))
    both = {digest("second"): None, digest("first"): soon.isoformat()}
    file({"k": entry(SECRET)}, api_callers={"orders": both})
    assert (ring.caller("second"), ring.caller("first")) == ("orders", "orders")
    file({"k": entry(SECRET)}, api_callers={"orders": {**both, digest("first"): past.isoformat()}})
    assert ring.caller("unknown, so that the file is looked at") is None
    assert (ring.caller("second"), ring.caller("first")) == ("orders", None)


def test_an_invalid_file_leaves_the_last_keys_in_force(file: Callable[..., Path]) -> None:
    path = file({"k": entry(SECRET)})
    ring = Keyring(Settings(keys_file=path))
    path.write_text('{"jwt_keys": ')
    assert ring.jwt_key("unknown") is None
    assert ring.jwt_key("k") is not None
    path.unlink()
    assert ring.jwt_key("unknown") is None
    file({"k2": entry(SECRET)})
    assert ring.jwt_key("k2") is not None


@pytest.mark.parametrize(
    ("jwt_keys", "reason"),
    [
        ({"k": entry("short")}, "shorter than 32 bytes"),
        ({"k": entry("-----BEGIN PRIVATE KEY-----\nnonsense")}, "not a readable PEM"),
        ({"k": entry(pem(rsa.generate_private_key(65537, 1024)))}, "neither Ed25519 nor RSA with at least 2048 bits"),
        ({"k": SECRET}, "jwt_keys.k"),
    ],
)
def test_an_invalid_key_ends_the_process_with_a_line_that_does_not_show_it(
    file: Callable[..., Path], capsys: pytest.CaptureFixture[str], jwt_keys: dict[str, Any], reason: str
) -> None:
    path = file(jwt_keys)
    with pytest.raises(InvalidKeys, match=reason):
        Keyring(Settings(keys_file=path))
    with pytest.raises(SystemExit):
        keys.keyring(Settings(keys_file=path))
    printed = capsys.readouterr().err
    assert printed.startswith("SOUK_KEYS_FILE: ")
    assert SECRET not in printed


def test_the_key_set_shows_public_halves_only() -> None:
    ring = Keyring(Settings(jwt_keys={"h": SECRET, "r": pem(RSA), "e": pem(ED25519)}))
    shown = keys.jwks(ring.now())["keys"]
    assert [(key["kid"], key["alg"], key["use"]) for key in shown] == [("r", "RS256", "sig"), ("e", "EdDSA", "sig")]
    assert all({"d", "p", "q", "k"}.isdisjoint(key) for key in shown)
    token = tokens.sign(uuid4(), [], Settings(jwt_keys={"e": pem(ED25519)})).text
    assert jwt.decode(token, jwt.PyJWK(shown[1]), algorithms=["EdDSA"], audience="souk")["iss"] == "souk-users"


@pytest.mark.parametrize("ahead", [-5, 5])
def test_clocks_may_differ_by_the_leeway(file: Callable[..., Path], ahead: int) -> None:
    settings = Settings(keys_file=file({"a": entry(SECRET)}))
    issued = datetime.now(UTC) + timedelta(seconds=ahead)
    expires_at = issued + (tokens.LIFETIME if ahead > 0 else timedelta())
    assert tokens.verify(tokens.sign(uuid4(), [], settings, None, ("id", expires_at)).text, settings)


@pytest.mark.parametrize("at", ["nbf", "iat", "exp"])
@pytest.mark.parametrize(("beyond", "is_valid"), [(-5, True), (5, False)])
def test_each_moment_of_a_token_has_the_leeway(file: Callable[..., Path], at: str, beyond: int, is_valid: bool) -> None:
    settings = Settings(keys_file=file({"a": entry(SECRET)}))
    now = datetime.now(UTC)
    claims = jwt.decode(tokens.sign(uuid4(), [], settings).text, options={"verify_signature": False})
    skew = LEEWAY + timedelta(seconds=beyond)
    claims |= {"nbf": now, at: now + (-skew if at == "exp" else skew)}
    token = jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": "a"})
    if is_valid:
        assert tokens.verify(token, settings)
    else:
        with pytest.raises(Unauthorized):
            tokens.verify(token, settings)


@pytest.mark.parametrize(("seconds", "is_known"), [(-5, True), (1, False)])
def test_a_key_is_accepted_for_the_leeway_after_its_end(
    file: Callable[..., Path], seconds: int, is_known: bool
) -> None:
    ended = entry(SECRET, -LEEWAY - timedelta(seconds=seconds))
    settings = Settings(keys_file=file({"a": entry(SECRET), "b": ended}))
    assert (Keyring(settings).jwt_key("b") is not None) == is_known


@pytest.mark.parametrize("moment", ["issued", "expired"])
def test_beyond_the_leeway_a_token_is_refused(file: Callable[..., Path], moment: str) -> None:
    settings = Settings(keys_file=file({"a": entry(SECRET)}))
    beyond = LEEWAY + timedelta(seconds=5)
    expires_at = datetime.now(UTC) + (tokens.LIFETIME + beyond if moment == "issued" else -beyond)
    with pytest.raises(Unauthorized):
        tokens.verify(tokens.sign(uuid4(), [], settings, None, ("id", expires_at)).text, settings)


def test_a_token_nested_too_deeply_is_refused(file: Callable[..., Path]) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 100_000).decode()
    settings = Settings(keys_file=file({"a": entry(SECRET)}))
    for token in (f"{deep}.e30.x", f"{deep}.{deep}.{deep}"):
        with pytest.raises(Unauthorized):
            tokens.verify(token, settings)
