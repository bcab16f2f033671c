"""An installation's keys, for tokens and for calls between services, and their rotation.

Each service rereads its own `keys/<service>.json`. Verifiers get a new key before it signs; old keys stay valid until what
they signed expires. An interrupted rotation can be run again.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from launcher.errors import LaunchError
from launcher.secrets import Secrets
from launcher.state import StateFolder

ALGORITHMS = ("EdDSA", "RS256", "HS256")
"""The first by default: who verifies its tokens cannot sign any."""

TOKEN_LIFETIME = timedelta(minutes=15)
"""As in chassis/security/tokens.py."""

OLD_API_KEY_LIFETIME = timedelta(minutes=1)
"""A service rereads its keys within a second."""

_FILE = "keys.json"
_GRACE = timedelta(minutes=1)

Key = dict[str, Any]
"""`id`, `material`, `expires_at` (None: not yet replaced)."""


class InstallationKeys:
    """`callers`: by service, who may call it. `verifiers` only verify tokens."""

    def __init__(
        self,
        state: StateFolder,
        secrets: Secrets,
        callers: Mapping[str, Collection[str]],
        verifiers: Collection[str] = (),
        algorithm: str = ALGORITHMS[0],
    ) -> None:
        """algorithm: of the first key."""
        self._state, self._secrets, self._algorithm = state, secrets, algorithm
        self._callers, self._verifiers = callers, verifiers

    def file(self, service: str) -> Path:
        return self._state.path / "keys" / f"{service}.json"

    def ensure(self) -> None:
        self._write(self._read())

    def jwt_keys(self) -> list[Key]:
        """Valid keys without their material; the first signs."""
        keys = _without_expired(self._read(), datetime.now(UTC))["jwt"]
        return [
            {"id": key["id"], "expires_at": key["expires_at"], "algorithm": _algorithm(key["material"])} for key in keys
        ]

    def rotate(
        self, algorithm: str, update_edge: Callable[[], None], drop_old: bool = False, now: datetime | None = None
    ) -> str:
        """Returns the new signing key's id.

        update_edge: returns once the edge uses its file. drop_old: for stolen keys, which stop being valid at once.
        """
        now = now or datetime.now(UTC)
        keys = _without_expired(self._read(), now)
        new_jwt = _new_jwt_key(algorithm, now)
        # First everyone can verify ...
        keys["jwt"].append(new_jwt)
        for name in self._callers:
            keys["api"][name].append(_new_api_key())
        self._write(keys)
        update_edge()
        # ... then the new keys are used.
        keys["jwt"] = [new_jwt, *(_expiring(key, now, _GRACE + TOKEN_LIFETIME, drop_old) for key in keys["jwt"][:-1])]
        for name, (*old, new) in keys["api"].items():
            keys["api"][name] = [new, *(_expiring(key, now, OLD_API_KEY_LIFETIME, False) for key in old)]
        self._write(keys)
        if drop_old:
            self._write(_without_expired(keys, now + timedelta(seconds=1)))
            update_edge()
        return str(new_jwt["id"])

    # --- inside

    def _read(self) -> dict[str, Any]:
        found = self._state.read_json(_FILE)
        if not found and self.file("users").exists():
            raise LaunchError(
                f"{self._state.path / _FILE} is missing, though keys were made with it: put it back from a backup; or "
                f"delete {self.file('users').parent}, and every session ends."
            )
        found = found or {
            "jwt": [{"id": "souk-1", "material": self._first_material(), "expires_at": None}],
            "api": {},
        }
        for name in self._callers:
            first = {"material": self._secrets[f"{name}-api-key"], "expires_at": None}
            found["api"].setdefault(name, [first])
        return found

    def _first_material(self) -> str:
        """The same at each call, until it is written."""
        secret = self._secrets["jwt-key"]
        return secret if self._algorithm == "HS256" else _material(self._algorithm, secret)

    def _write(self, keys: dict[str, Any]) -> None:
        """Verifiers before signers: users, the issuer, comes last."""
        if self._state.read_json(_FILE) != keys:
            self._state.write_json(_FILE, keys)
        for service in sorted([*self._callers, *self._verifiers], key=lambda name: name == "users"):
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
        if service in self._callers:
            content["api_key"] = keys["api"][service][0]["material"]
            content["api_callers"] = {
                name: {hashlib.sha256(key["material"].encode()).hexdigest(): key["expires_at"] for key in own}
                for name, own in keys["api"].items()
                if name in self._callers[service]
            }
        return content


def _without_expired(keys: dict[str, Any], now: datetime) -> dict[str, Any]:
    def valid(group: list[Key]) -> list[Key]:
        return [key for key in group if key["expires_at"] is None or datetime.fromisoformat(key["expires_at"]) > now]

    return {"jwt": valid(keys["jwt"]), "api": {name: valid(own) for name, own in keys["api"].items()}}


def _expiring(key: Key, now: datetime, after: timedelta, at_once: bool) -> Key:
    end = (now if at_once else now + after).isoformat()
    return {**key, "expires_at": end if at_once or key["expires_at"] is None else min(end, key["expires_at"])}


def _new_api_key() -> Key:
    return {"material": secrets.token_urlsafe(32), "expires_at": None}


def _new_jwt_key(algorithm: str, now: datetime) -> Key:
    identity = f"souk-{now:%Y%m%d}-{secrets.token_hex(3)}"
    return {"id": identity, "material": _material(algorithm), "expires_at": None}


def _material(algorithm: str, seed: str = "") -> str:
    """seed: of an Ed25519 key."""
    if algorithm == "HS256":
        return secrets.token_urlsafe(48)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    seed = seed or secrets.token_urlsafe(32)
    private = (
        generate_private_key(65537, 3072)
        if algorithm == "RS256"
        else Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())
    )
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _algorithm(material: str) -> str:
    if not material.startswith("-----BEGIN"):
        return "HS256"
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return "RS256" if isinstance(load_pem_private_key(material.encode(), password=None), RSAPrivateKey) else "EdDSA"


def _public(material: str) -> str:
    """A key pair's public half, else the secret."""
    if not material.startswith("-----BEGIN"):
        return material
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    public = load_pem_private_key(material.encode(), password=None).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
