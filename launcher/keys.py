"""An installation's keys, for tokens and for calls between services, and their rotation.

Each service rereads its own `keys/<service>.json`. Verifiers get a new key before it signs; old keys stay valid until what
they signed expires. An interrupted rotation can be run again.
"""

import json
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from launcher.errors import LaunchError
from launcher.secrets import Secrets
from launcher.state import StateFolder
from operators.keyring import rotation
from operators.keyring.rotation import ALGORITHMS, Key

_FILE = "keys.json"


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
        keys = rotation.without_expired(self._read(), datetime.now(UTC))["jwt"]
        return [
            {"id": key["id"], "expires_at": key["expires_at"], "algorithm": rotation.algorithm_of(key["material"])}
            for key in keys
        ]

    def rotate(
        self, algorithm: str, update_edge: Callable[[], None], drop_old: bool = False, now: datetime | None = None
    ) -> str:
        """Returns the new signing key's id.

        update_edge: returns once the edge uses its file. drop_old: for stolen keys, which stop being valid at once.
        """
        now = now or datetime.now(UTC)
        # First everyone can verify ...
        keys = rotation.add(self._read(), algorithm, now)
        self._write(keys)
        update_edge()
        # ... then the new keys are used.
        keys = rotation.sign(keys, now, drop_old)
        self._write(keys)
        if drop_old:
            self._write(rotation.without_expired(keys, now + timedelta(seconds=1)))
            update_edge()
        return str(keys["jwt"][0]["id"])

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
        return secret if self._algorithm == "HS256" else rotation.material(self._algorithm, secret)

    def _write(self, keys: dict[str, Any]) -> None:
        """Verifiers before signers: users, the issuer, comes last."""
        if self._state.read_json(_FILE) != keys:
            self._state.write_json(_FILE, keys)
        for service in sorted([*self._callers, *self._verifiers], key=lambda name: name == rotation.ISSUER):
            content = rotation.file_of(service, keys, self._callers)
            if not self.file(service).exists() or json.loads(self.file(service).read_text()) != content:
                self._state.write_json(f"keys/{service}.json", content)
