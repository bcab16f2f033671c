"""Keeps an edge on the current keys and weights: `python -m services.gateway.config.keep kong/kong.yml TARGET`, beside it in its pod.

Renders the file anew when SOUK_KEYS_FILE or SOUK_WEIGHTS_DIRECTORY changes, and gives it to the edge's Admin API. It reports those
that the edge has accepted.
"""

import json
import signal
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
from pydantic import SecretStr
from structlog import get_logger

from chassis.base import health, telemetry
from chassis.base.watched_file import CHECK_SECONDS
from chassis.security.keys import keyring
from services.gateway.config.render import render, values_of, weights_of
from services.gateway.settings import RenderSettings

log = get_logger(__name__)

TIMEOUT = urllib3.Timeout(connect=2, read=30)
"""Kong builds its router anew."""


class KeepSettings(RenderSettings):
    admin_token: SecretStr | None = None
    """As the gateway's. Kong has none."""


@dataclass(frozen=True)
class Given:
    """What an edge is configured with."""

    keys: str = ""
    """Digest of the file."""
    weights: dict[str, dict[str, int]] = field(default_factory=dict)


class Keeper:
    def __init__(self, template: Path, target: Path, settings: KeepSettings) -> None:
        self._template, self._target, self._settings = template, target, settings
        self._url = f"http://{settings.admin_host}:{settings.admin_port}/config"
        self._pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)
        self.accepted = Given()
        """By the edge."""

    def write(self) -> Given:
        """For an edge that starts. Raises ValueError or OSError for weights that cannot be read."""
        # Before the values: they may be newer.
        given = self._now()
        text = render(self._template, values_of(self._settings))
        new = self._target.with_suffix(".new")
        new.write_text(text)
        new.replace(self._target)
        return given

    def step(self) -> None:
        try:
            if self._now() == self.accepted:
                return
            given = self.write()
        except (OSError, ValueError) as error:
            log.error("configuration not rendered", reason=str(error))
            return
        headers = {"Content-Type": "application/json"}
        if self._settings.admin_token:
            headers["Kong-Admin-Token"] = self._settings.admin_token.get_secret_value()
        body = json.dumps({"config": self._target.read_text()})
        try:
            response = self._pool.request("POST", self._url, body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            # It starts, and reads the file.
            log.info("edge unavailable", reason=type(error).__name__)
            return
        if response.status != 201:
            log.error("configuration refused", status=response.status)
            return
        log.info("edge configured", keys=given.keys, weights=given.weights)
        self.accepted = given

    def _now(self) -> Given:
        return Given(keyring(self._settings).digest(), weights_of(self._settings.weights_directory))

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(CHECK_SECONDS):
            self.step()


def main(template: str, target: str) -> None:
    settings = KeepSettings.current()
    telemetry.configure_logging("edge-keys", settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    keeper = Keeper(Path(template), Path(target), settings)
    keeper.write()
    reports = health.Health({}, keys=lambda: keeper.accepted.keys, weights=lambda: keeper.accepted.weights)
    health.serve(reports, settings.host, settings.port)
    keeper.run(stopping)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: python -m services.gateway.config.keep FILE TARGET")
    main(*sys.argv[1:])
