"""The steps of a rotation, on one machine and in a cluster: add, everyone verifies, sign, retire.

Keys: {"jwt": [key, ...], "api": {caller: [key, ...]}}; a key is its `material`, `expires_at` (None: not yet replaced) and, for
tokens, `id`. Of a list the first is used, and all are accepted.
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

ALGORITHMS = ("EdDSA", "RS256", "HS256")
"""The first by default: who verifies its tokens cannot sign any."""

ISSUER = "users"

TOKEN_LIFETIME = timedelta(minutes=15)
"""As in chassis/security/tokens.py."""

OLD_API_KEY_LIFETIME = timedelta(minutes=1)
"""A service rereads its keys within a second."""

_GRACE = timedelta(minutes=1)

Key = dict[str, Any]
Keys = dict[str, Any]


def add(keys: Keys, algorithm: str, now: datetime) -> Keys:
    """New keys, for all to know before one is used."""
    found = without_expired(keys, now)
    return {
        "jwt": [*found["jwt"], new_jwt_key(algorithm, now)],
        "api": {name: [*own, new_api_key()] for name, own in found["api"].items()},
    }


def added(keys: Keys) -> str:
    """The id of a key that does not sign yet, or empty."""
    last = keys["jwt"][-1]
    return str(last["id"]) if len(keys["jwt"]) > 1 and last["expires_at"] is None else ""


def use(keys: Keys) -> Keys:
    """The added keys."""
    return {
        "jwt": [keys["jwt"][-1], *keys["jwt"][:-1]],
        "api": {name: [own[-1], *own[:-1]] for name, own in keys["api"].items()},
    }


def expire(keys: Keys, now: datetime, drop_old: bool = False) -> Keys:
    """Keys that nobody uses any longer end once what they signed has. drop_old: at once, those for tokens."""
    used, *old = keys["jwt"]
    return {
        "jwt": [used, *(_expiring(key, now, _GRACE + TOKEN_LIFETIME, drop_old) for key in old)],
        "api": {
            name: [first, *(_expiring(key, now, OLD_API_KEY_LIFETIME, False) for key in rest)]
            for name, (first, *rest) in keys["api"].items()
        },
    }


def sign(keys: Keys, now: datetime, drop_old: bool = False) -> Keys:
    """Both, where all programs reread their keys within a second."""
    return expire(use(keys), now, drop_old)


def without_expired(keys: Keys, now: datetime) -> Keys:
    """Retires them."""

    def valid(group: list[Key]) -> list[Key]:
        return [key for key in group if key["expires_at"] is None or datetime.fromisoformat(key["expires_at"]) > now]

    return {"jwt": valid(keys["jwt"]), "api": {name: valid(own) for name, own in keys["api"].items()}}


def file_of(service: str, keys: Keys, callers: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """What the service's SOUK_KEYS_FILE holds. callers: who may call each service; one that is not in it only verifies tokens."""
    content: dict[str, Any] = {
        "jwt_keys": {
            key["id"]: {
                "material": key["material"] if service == ISSUER else _public(key["material"]),
                "expires_at": key["expires_at"],
            }
            for key in keys["jwt"]
        }
    }
    if service in callers:
        content["api_key"] = keys["api"][service][0]["material"]
        content["api_callers"] = {
            name: {hashlib.sha256(key["material"].encode()).hexdigest(): key["expires_at"] for key in own}
            for name, own in keys["api"].items()
            if name in callers[service]
        }
    return content


def new_api_key() -> Key:
    return {"material": secrets.token_urlsafe(32), "expires_at": None}


def new_jwt_key(algorithm: str, now: datetime) -> Key:
    identity = f"souk-{now:%Y%m%d}-{secrets.token_hex(3)}"
    return {"id": identity, "material": material(algorithm), "expires_at": None}


def material(algorithm: str, seed: str = "") -> str:
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


def algorithm_of(material: str) -> str:
    if not material.startswith("-----BEGIN"):
        return "HS256"
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return "RS256" if isinstance(load_pem_private_key(material.encode(), password=None), RSAPrivateKey) else "EdDSA"


# --- inside


def _expiring(key: Key, now: datetime, after: timedelta, at_once: bool) -> Key:
    end = (now if at_once else now + after).isoformat()
    return {**key, "expires_at": end if at_once or key["expires_at"] is None else min(end, key["expires_at"])}


def _public(material: str) -> str:
    """A key pair's public half, else the secret."""
    if not material.startswith("-----BEGIN"):
        return material
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    public = load_pem_private_key(material.encode(), password=None).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
