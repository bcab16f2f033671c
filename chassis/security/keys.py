"""Token and API keys, from the settings or SOUK_KEYS_FILE.

The file is reloaded when it changes, and on an unknown key: rotation drops no request.
"""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from structlog import get_logger

from chassis.base import clock
from chassis.base.settings import Settings
from chassis.base.validation import summary
from chassis.base.watched_file import WatchedFile
from chassis.clients.credentials import digest_of

log = get_logger(__name__)

MIN_SECRET_BYTES = 32
"""HS256 (RFC 7518, 3.2)."""

MIN_RSA_BITS = 2048


class InvalidKeys(ValueError):
    """The message shows no key."""


class Material(BaseModel):
    """A secret or PEM."""

    model_config = ConfigDict(extra="forbid")

    material: SecretStr
    expires_at: datetime | None = None


class KeyFile(BaseModel):
    """The first of `jwt_keys` signs. `api_callers`: expiry by SHA-256 digest, by caller."""

    model_config = ConfigDict(extra="forbid")

    jwt_keys: dict[str, Material]
    api_key: SecretStr = SecretStr("")
    api_callers: dict[str, dict[str, datetime | None]] = {}


@dataclass(frozen=True)
class JWTKey:
    """`algorithm`: the key's; the token's header is not trusted."""

    id: str
    algorithm: str
    signing: Any
    """None without the private half."""
    verifying: Any
    expires_at: datetime | None


@dataclass(frozen=True)
class Keys:
    """A snapshot."""

    jwt: Mapping[str, JWTKey]
    callers: Mapping[str, tuple[str, datetime | None]]
    """Name and expiry, by digest."""
    digest: str = ""
    """Of the file."""

    def jwt_key(self, key_id: str) -> JWTKey | None:
        key = self.jwt.get(key_id)
        return key if key is not None and _is_current(key.expires_at) else None

    def caller(self, api_key: str) -> str | None:
        """Looked up by digest: timing reveals nothing."""
        name, until = self.callers.get(hashlib.sha256(api_key.encode()).hexdigest(), (None, None))
        return name if _is_current(until) else None

    @property
    def signing(self) -> JWTKey:
        """Raises InvalidKeys if none."""
        for key in self.jwt.values():
            if key.signing is not None and (key.expires_at is None or clock.now() < key.expires_at):
                return key
        raise InvalidKeys("no key can sign tokens")

    @classmethod
    def of(cls, content: KeyFile, digest: str = "") -> Self:
        """Raises InvalidKeys."""
        jwt_keys = {
            key_id: JWTKey(key_id, *_parsed(key_id, key.material.get_secret_value()), key.expires_at)
            for key_id, key in content.jwt_keys.items()
        }
        callers = {
            digest: (name, until) for name, digests in content.api_callers.items() for digest, until in digests.items()
        }
        return cls(jwt_keys, callers, digest)


class Keyring:
    """The current keys. Making one raises InvalidKeys."""

    def __init__(self, settings: Settings) -> None:
        self._file: WatchedFile[Keys] | None = None
        if settings.keys_file is None:
            self._fixed = Keys.of(_from_settings(settings))
        else:
            try:
                self._file = WatchedFile(settings.keys_file, _parsed_file)
            except OSError as error:
                raise InvalidKeys(error.strerror or str(error)) from None

    def now(self) -> Keys:
        return self._fixed if self._file is None else self._file.now()

    def digest(self) -> str:
        """Of the file in use; empty without one."""
        return self._refresh().digest

    def jwt_key(self, key_id: str) -> JWTKey | None:
        return self.now().jwt_key(key_id) or self._refresh().jwt_key(key_id)

    def caller(self, api_key: str) -> str | None:
        return self.now().caller(api_key) or self._refresh().caller(api_key)

    def _refresh(self) -> Keys:
        return self._fixed if self._file is None else self._file.refresh()


def keyring(settings: Settings) -> Keyring:
    """Exits when invalid."""
    try:
        return settings.once(Keyring)
    except InvalidKeys as error:
        print(f"{'SOUK_KEYS_FILE' if settings.keys_file else 'SOUK_JWT_KEYS'}: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def _parsed_file(raw: bytes) -> Keys:
    try:
        return Keys.of(KeyFile.model_validate_json(raw), digest_of(raw))
    except ValidationError as error:
        raise InvalidKeys(summary(error)) from None


def _from_settings(settings: Settings) -> KeyFile:
    return KeyFile(
        jwt_keys={key_id: Material(material=secret) for key_id, secret in settings.jwt_keys.items()},
        api_key=settings.api_key,
        api_callers={name: {digest: None} for name, digest in settings.api_callers.items()},
    )


def _is_current(until: datetime | None) -> bool:
    return until is None or clock.now() < until + clock.LEEWAY


@cache
def _parsed(key_id: str, material: str) -> tuple[str, Any, Any]:
    """Algorithm, signing key, verifying key. Raises InvalidKeys."""
    if not material.startswith("-----BEGIN"):
        if len(material.encode()) < MIN_SECRET_BYTES:
            raise InvalidKeys(f"the secret {key_id} is shorter than {MIN_SECRET_BYTES} bytes")
        return "HS256", material, material
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    private: Any = None
    try:
        if "PRIVATE KEY" in material.partition("\n")[0]:
            private = serialization.load_pem_private_key(material.encode(), password=None)
        public = private.public_key() if private else serialization.load_pem_public_key(material.encode())
    except (ValueError, TypeError) as error:
        raise InvalidKeys(f"the key {key_id} is not a readable PEM") from error
    if isinstance(public, Ed25519PublicKey):
        return "EdDSA", private, public
    if isinstance(public, RSAPublicKey) and public.key_size >= MIN_RSA_BITS:
        return "RS256", private, public
    raise InvalidKeys(f"the key {key_id} is neither Ed25519 nor RSA with at least {MIN_RSA_BITS} bits")


def public_pem(key: JWTKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem: bytes = key.verifying.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def jwks(keys: Keys) -> dict[str, Any]:
    """RFC 7517, without HS256 secrets."""
    from jwt.algorithms import get_default_algorithms

    algorithms: dict[str, Any] = get_default_algorithms()

    def shown(key: JWTKey) -> dict[str, str]:
        public = algorithms[key.algorithm].to_jwk(key.verifying, as_dict=True)
        public.pop("key_ops", None)  # `use` suffices (RFC 7517, 4.3)
        return {**public, "kid": key.id, "alg": key.algorithm, "use": "sig"}

    return {
        "keys": [shown(key) for key in keys.jwt.values() if key.algorithm != "HS256" and _is_current(key.expires_at)]
    }
