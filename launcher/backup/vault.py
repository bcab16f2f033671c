"""The installation's secrets and keys in a backup, encrypted.

Their key is in the state folder and, for a machine that is lost, wherever the operator has written down what
`./souk backup init` printed.
"""

import base64
import json
from collections.abc import Mapping

from cryptography.fernet import Fernet, InvalidToken

from launcher.backup.target import VARIABLE
from launcher.errors import LaunchError
from launcher.state import StateFolder

KEY_FILE = "backup.key"
KEY_VARIABLE = "SOUK_BACKUP_KEY"

FILES = ("secrets.json", "keys.json", "replicas.json", "keys/*.json", "tls/*", "internal/*")


def make_key(state: StateFolder, environment: Mapping[str, str]) -> str:
    """The present one, if there is one."""
    if not (key := environment.get(KEY_VARIABLE) or _stored(state)):
        key = Fernet.generate_key().decode()
    _cipher(key)
    state.write(KEY_FILE, key)
    return key


def key(state: StateFolder, environment: Mapping[str, str]) -> str:
    """Raises LaunchError."""
    if found := environment.get(KEY_VARIABLE) or _stored(state):
        return found
    raise LaunchError(
        f"The key of the backups is missing: set {KEY_VARIABLE} to what ./souk backup init printed for {VARIABLE}."
    )


def seal(state: StateFolder, key: str) -> bytes:
    files = {path for pattern in FILES for path in state.path.glob(pattern) if path.is_file()}
    content = {
        path.relative_to(state.path).as_posix(): base64.b64encode(path.read_bytes()).decode() for path in sorted(files)
    }
    return _cipher(key).encrypt(json.dumps(content).encode())


def unseal(content: bytes, key: str) -> dict[str, bytes]:
    """By path in the state folder. Raises LaunchError for another key."""
    try:
        files: dict[str, str] = json.loads(_cipher(key).decrypt(content))
    except InvalidToken:
        raise LaunchError(
            f"The secrets in the backup were sealed with another key: set {KEY_VARIABLE} to it."
        ) from None
    return {name: base64.b64decode(text) for name, text in files.items()}


def _stored(state: StateFolder) -> str:
    path = state.path / KEY_FILE
    return path.read_text().strip() if path.exists() else ""


def _cipher(key: str) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise LaunchError(f"{KEY_VARIABLE} is no key: it is what ./souk backup init printed.") from None
