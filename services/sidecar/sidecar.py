"""The life of a sidecar: beat after beat the entry is made or renewed, until it is to go; then it drains and takes it out."""

import threading
import time
from collections.abc import Callable

from services.sidecar import entry, instance
from services.sidecar.consul import Agent, Away, Refused, Unknown
from services.sidecar.instance import Condition, Status
from services.sidecar.log import log
from services.sidecar.settings import Settings

QUIET_SECONDS = 1.0
"""How long there must be nothing in hand before an instance counts as drained: callers need a moment to hear that it goes."""


class Sidecar:
    """`state` is one of: waiting (for the instance's first answer), registered, consul away, refused, draining, gone."""

    def __init__(self, settings: Settings, look: Callable[[str], Condition] = instance.look) -> None:
        self.state = "waiting"
        self.condition = Condition("critical", None, "not looked at yet")
        self._settings, self._look = settings, look
        self._agent = Agent(settings)
        self._is_registered = False
        self._told = ""

    @property
    def is_ready(self) -> bool:
        """Whether the catalogue has the instance as one that takes traffic before all that are not ready."""
        return self.state == "registered" and self.condition.is_ready

    def run(self, stopping: threading.Event) -> None:
        """Until `stopping` is set; returns when the instance is drained and out of the catalogue."""
        while not stopping.wait(self._settings.beat_seconds if self._told else 0.0):
            self.beat()
        self.drain()

    def beat(self) -> None:
        """Look at the instance, and have Consul know."""
        before = self.condition.status
        self.condition = self._look(self._settings.instance_url)
        status = self.condition.status
        if status != before:
            log("instance", name=self._settings.instance, status=status, reason=self.condition.reason)
        try:
            self._tell(came_back=before == "critical" and status != "critical")
        except Away as away:
            self._transition_to("consul away", str(away))
        except Refused as refused:
            self._transition_to("refused", str(refused))

    def drain(self) -> None:
        """Fail the instance in the catalogue, wait for what it has in hand, and take the entry out."""
        self._transition_to("draining")
        try:
            if self._is_registered:
                self._agent.tell(entry.check_id(self._settings), "critical", "draining")
                self._wait_until_quiet()
            self._agent.deregister(self._settings.instance)
        except (Away, Refused, Unknown) as error:
            # Consul forgets it by itself, as nobody renews it.
            log("not deregistered", "warning", name=self._settings.instance, error=str(error))
        self._transition_to("gone")

    def _tell(self, came_back: bool) -> None:
        status = self.condition.status
        if not self._is_registered and status == "critical":
            self._transition_to("waiting", self.condition.reason)
            return
        # An instance that came back gets a new entry: in the old one the check that Consul makes itself would keep it out
        # until its next turn, whatever we say.
        if self._is_registered and not came_back:
            try:
                self._agent.tell(entry.check_id(self._settings), status, self.condition.reason[:200])
                self._transition_to("registered")
                return
            except Unknown as unknown:
                log("entry lost", "warning", name=self._settings.instance, error=str(unknown))
        self._register(status)

    def _register(self, status: Status) -> None:
        self._agent.expect_leader()
        if self._is_registered:
            self._agent.deregister(self._settings.instance)
        for left in entry.former_selves(self._settings, self._agent.services()):
            self._agent.deregister(left)
            log("former entry removed", name=self._settings.instance, entry=left)
        self._agent.register(entry.describe(self._settings, status))
        self._is_registered = True
        self._transition_to("registered")
        log("registered", name=self._settings.instance, url=self._settings.instance_url)

    def _wait_until_quiet(self) -> None:
        """No request in hand for a while, or no instance any more, or no more patience."""
        end = time.monotonic() + self._settings.drain_seconds
        quiet_since = None
        while (now := time.monotonic()) < end:
            condition = self._look(self._settings.instance_url)
            if condition.in_flight:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = now
            if quiet_since is not None and now - quiet_since >= min(QUIET_SECONDS, self._settings.drain_seconds):
                return
            time.sleep(min(0.1, self._settings.beat_seconds))
        log("not drained in time", "warning", name=self._settings.instance)

    def _transition_to(self, state: str, reason: str = "") -> None:
        """Say a change once, however many beats it lasts."""
        self.state = state
        if state != self._told:
            self._told = state
            log("sidecar", name=self._settings.instance, state=state, **({"reason": reason} if reason else {}))
