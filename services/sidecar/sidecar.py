"""Registers, renews, drains and deregisters the instance."""

import functools
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.sidecar import entry, instance
from services.sidecar.consul import Agent, Forbidden, Unavailable, UnknownCheck
from services.sidecar.instance import Condition, Status
from services.sidecar.log import log
from services.sidecar.settings import Settings

IDLE_SECONDS = 1.0
"""Callers need a moment to notice."""


class Sidecar:
    """`state`: waiting (for the instance), registered, consul unavailable, forbidden, draining, stopped."""

    def __init__(self, settings: Settings, probe: Callable[[str], Condition] | None = None) -> None:
        self.state = "waiting"
        self.condition = Condition("critical", None, "not probed yet")
        self._settings = settings
        self._probe = probe or functools.partial(instance.probe, tls=_tls(settings))
        self._agent = Agent(settings)
        self._is_registered = False
        self._was_found = False
        self._logged_state = ""

    @property
    def is_ready(self) -> bool:
        """Whether callers have once found the instance, and may go on to call it. Consul may be unavailable meanwhile."""
        return self._was_found and self.condition.is_ready and self.state not in ("draining", "stopped")

    def run(self, stopping: threading.Event) -> None:
        """Until stopped and drained."""
        while not stopping.wait(self._settings.heartbeat_seconds if self._logged_state else 0.0):
            self.heartbeat()
        self.drain()

    def heartbeat(self) -> None:
        before = self.condition.status
        self.condition = self._probe(self._settings.instance_url)
        status = self.condition.status
        if status != before:
            log("instance", name=self._settings.instance, status=status, reason=self.condition.reason)
        try:
            self._report(recovered=before == "critical" and status != "critical")
        except Unavailable as error:
            self._transition_to("consul unavailable", str(error))
        except Forbidden as error:
            self._transition_to("forbidden", str(error))

    def drain(self) -> None:
        self._transition_to("draining")
        if self._is_registered:
            with self._logged_failure("draining not reported"):
                self._agent.renew(entry.check_id(self._settings), "critical", "draining")
            # Without Consul, too: callers know the instance.
            self._wait_until_idle()
        # Consul removes an entry that is not renewed.
        with self._logged_failure("not deregistered"):
            self._agent.deregister(self._settings.instance)
        self._transition_to("stopped")

    @contextmanager
    def _logged_failure(self, event: str) -> Iterator[None]:
        try:
            yield
        except (Unavailable, Forbidden, UnknownCheck) as error:
            log(event, "warning", name=self._settings.instance, error=str(error))

    def _report(self, recovered: bool) -> None:
        status = self.condition.status
        if not self._is_registered and status == "critical":
            self._transition_to("waiting", self.condition.reason)
            return
        if self._is_registered:
            try:
                self._agent.renew(entry.check_id(self._settings), status, self.condition.reason[:200])
                # After recovery the old entry would stay critical until Consul's next check.
                if not recovered:
                    self._transition_to("registered")
                    return
            except UnknownCheck as error:
                log("entry lost", "warning", name=self._settings.instance, error=str(error))
        self._register(status)

    def _register(self, status: Status) -> None:
        self._agent.require_leader()
        if self._is_registered:
            self._agent.deregister(self._settings.instance)
        for stale in entry.stale_ids(self._settings, self._agent.services()):
            self._agent.deregister(stale)
            log("stale entry removed", name=self._settings.instance, entry=stale)
        self._agent.register(entry.describe(self._settings, status))
        self._is_registered = True
        self._transition_to("registered")
        log("registered", name=self._settings.instance, url=self._settings.instance_url)

    def _wait_until_idle(self) -> None:
        """For IDLE_SECONDS, at most `drain_seconds`."""
        end = time.monotonic() + self._settings.drain_seconds
        idle_since = None
        while (now := time.monotonic()) < end:
            condition = self._probe(self._settings.instance_url)
            if condition.in_flight:
                idle_since = None
            elif idle_since is None:
                idle_since = now
            if idle_since is not None and now - idle_since >= min(IDLE_SECONDS, self._settings.drain_seconds):
                return
            time.sleep(min(0.1, self._settings.heartbeat_seconds))
        log("not drained in time", "warning", name=self._settings.instance)

    def _transition_to(self, state: str, reason: str = "") -> None:
        """Log only changes."""
        self.state = state
        self._was_found |= state == "registered" and self.condition.is_ready
        if state != self._logged_state:
            self._logged_state = state
            log("sidecar", name=self._settings.instance, state=state, **({"reason": reason} if reason else {}))


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """For the instance."""
    if not settings.instance_url.startswith("https"):
        return None
    return ssl.create_default_context(cafile=settings.internal_ca_file or None)
