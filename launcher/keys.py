"""The keys of one installation: what tokens are signed with and services know each other by, and their rotation.

`keys.json` has all of them; from it follows one file for each service (`keys/<service>.json`), which holds only what that
service needs and which it reads again when it changes. A rotation makes every new key known to those who check before
it is shown by anybody, and lets the old one hold until what was signed with it has ended. So it can be broken off
anywhere, and running it again finishes it.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from launcher.secrets import Secrets
from launcher.state import StateFolder

ALGORITHMS = ("HS256", "RS256", "EdDSA")

TOKENS_LIVE = timedelta(minutes=15)
"""As long as an access token, see chassis/security/tokens.py."""

OLD_API_KEYS_HOLD = timedelta(minutes=1)
"""A service shows its new key within a second of its being written."""

_FILE = "keys.json"
_GRACE = timedelta(minutes=1)

Key = dict[str, Any]
"""`id`, `material`, `expires_at` (None: until further notice)."""


class InstallationKeys:
    """`services` call each other; `verifiers` only verify tokens."""

    def __init__(
        self, state: StateFolder, known: Secrets, services: Collection[str], verifiers: Collection[str] = ()
    ) -> None:
        self._state, self._known = state, known
        self._services, self._verifiers = services, verifiers

    def file(self, service: str) -> Path:
        return self._state.path / "keys" / f"{service}.json"

    def ensure(self) -> None:
        """Make the keys where there are none, and every service's file."""
        self._write(self._read())

    def jwt_keys(self) -> list[Key]:
        """`id`, `algorithm` and `expires_at` of those that still verify; the first signs."""
        keys = _without_ended(self._read(), datetime.now(UTC))["jwt"]
        return [
            {"id": key["id"], "expires_at": key["expires_at"], "algorithm": _algorithm(key["material"])} for key in keys
        ]

    def rotate(
        self, algorithm: str, tell_edge: Callable[[], None], drop_old: bool = False, now: datetime | None = None
    ) -> str:
        """New keys for everything; gives the id of the one that signs from now on.

        `tell_edge` returns when the edge verifies by the keys in its file. With `drop_old`, for keys that were stolen, what the
        old ones signed is worth nothing at once: clients refresh their tokens.
        """
        now = now or datetime.now(UTC)
        keys = _without_ended(self._read(), now)
        new_jwt = _new_jwt_key(algorithm, now)
        # First everybody learns to check ...
        keys["jwt"].append(new_jwt)
        for name in self._services:
            keys["api"][name].append(_new_api_key())
        self._write(keys)
        tell_edge()
        # ... then it is shown.
        keys["jwt"] = [new_jwt, *(_ending(key, now, _GRACE + TOKENS_LIVE, drop_old) for key in keys["jwt"][:-1])]
        for name, (*old, new) in keys["api"].items():
            keys["api"][name] = [new, *(_ending(key, now, OLD_API_KEYS_HOLD, False) for key in old)]
        self._write(keys)
        if drop_old:
            self._write(_without_ended(keys, now + timedelta(seconds=1)))
            tell_edge()
        return str(new_jwt["id"])

    # --- inside

    def _read(self) -> dict[str, Any]:
        found = self._state.read_json(_FILE) or {
            "jwt": [{"id": "souk-1", "material": self._known.get("jwt-key"), "expires_at": None}],
            "api": {},
        }
        for name in self._services:
            first = {"material": self._known.get(f"{name}-api-key"), "expires_at": None}
            found["api"].setdefault(name, [first])
        return found

    def _write(self, keys: dict[str, Any]) -> None:
        """Those who check before those who show; the issuer of tokens is the last of all."""
        if self._state.read_json(_FILE) != keys:
            self._state.write_json(_FILE, keys)
        for service in sorted([*self._services, *self._verifiers], key=lambda name: name == "users"):
            content = self._for(service, keys)
            if not self.file(service).exists() or json.loads(self.file(service).read_text()) != content:
                self._state.write_json(f"keys/{service}.json", content)

    def _for(self, service: str, keys: dict[str, Any]) -> dict[str, Any]:
        signs = service == "users"
        content: dict[str, Any] = {
            "jwt_keys": {
                key["id"]: {
                    "material": key["material"] if signs else _public(key["material"]),
                    "expires_at": key["expires_at"],
                }
                for key in keys["jwt"]
            }
        }
        if service in self._services:
            content["api_key"] = keys["api"][service][0]["material"]
            content["api_callers"] = {
                name: {hashlib.sha256(key["material"].encode()).hexdigest(): key["expires_at"] for key in own}
                for name, own in keys["api"].items()
                if name != service
            }
        return content


def _without_ended(keys: dict[str, Any], now: datetime) -> dict[str, Any]:
    def holding(group: list[Key]) -> list[Key]:
        return [key for key in group if key["expires_at"] is None or datetime.fromisoformat(key["expires_at"]) > now]

    return {"jwt": holding(keys["jwt"]), "api": {name: holding(own) for name, own in keys["api"].items()}}


def _ending(key: Key, now: datetime, after: timedelta, at_once: bool) -> Key:
    """The key with its end, unless it has an earlier one."""
    end = (now if at_once else now + after).isoformat()
    return {**key, "expires_at": end if at_once or key["expires_at"] is None else min(end, key["expires_at"])}


def _new_api_key() -> Key:
    return {"material": secrets.token_urlsafe(32), "expires_at": None}


def _new_jwt_key(algorithm: str, now: datetime) -> Key:
    identity = f"souk-{now:%Y%m%d}-{secrets.token_hex(3)}"
    return {"id": identity, "material": _material(algorithm), "expires_at": None}


def _material(algorithm: str) -> str:
    if algorithm == "HS256":
        return secrets.token_urlsafe(48)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = generate_private_key(65537, 3072) if algorithm == "RS256" else Ed25519PrivateKey.generate()
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _algorithm(material: str) -> str:
    if not material.startswith("-----BEGIN"):
        return "HS256"
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return "RS256" if isinstance(load_pem_private_key(material.encode(), password=None), RSAPrivateKey) else "EdDSA"


def _public(material: str) -> str:
    """What verifies what `material` signs: of a pair the public half, else the secret itself."""
    if not material.startswith("-----BEGIN"):
        return material
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    public = load_pem_private_key(material.encode(), password=None).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
