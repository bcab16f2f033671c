"""Generated passwords and keys, readable by the owner only."""

import secrets
import threading

from launcher.state import StateFolder

_FILE = "secrets.json"


class Secrets:
    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._values: dict[str, str] = state.read_json(_FILE)

    def __getitem__(self, name: str) -> str:
        """Safe in URLs and shell quotes."""
        with self._lock:
            if name not in self._values:
                self._values[name] = secrets.token_urlsafe(32)
                self._state.write_json(_FILE, self._values)
            return self._values[name]
