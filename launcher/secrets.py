"""Generated passwords and keys, readable by the owner only."""

import secrets
import threading

from launcher.errors import LaunchError
from launcher.state import StateFolder

_FILE = "secrets.json"


class Secrets:
    """Read at first use."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._values: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        """Safe in URLs and shell quotes."""
        with self._lock:
            self._read()
            if name not in self._values:
                self._values[name] = secrets.token_urlsafe(32)
                self._state.write_json(_FILE, self._values)
            return self._values[name]

    def ensure(self) -> None:
        """Raises LaunchError when they are lost: new ones would not open the servers' data."""
        self["postgres"]

    def _read(self) -> None:
        if not self._values:
            self._values = self._state.read_json(_FILE)
            if not self._values and (data := self._state.existing_data()):
                raise LaunchError(
                    f"{self._state.path / _FILE} is missing, and {data} cannot be used without it: put it back from a "
                    "backup, or delete all data with ./souk down --wipe."
                )
