"""Brings restored services to agreement, and proves it.

Documents are as of the backup, PostgreSQL as of the moment, RabbitMQ is empty, and the payment provider went on. So what
was sent since the backup is sent again: who has handled a message ignores it, and products takes its stock on to the moment. What is
older than inboxes remember goes to products alone. Payments asks the provider for what it does not know.
"""

import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chassis.messaging import broker
from launcher import queues
from launcher.errors import LaunchError
from launcher.manifests import SERVICES, WITH_MONGO, WITH_POSTGRES
from launcher.stack import Stack

ON_THE_WAY = timedelta(hours=1)
"""A message sent so long before the backup may have been handled after it. What waited for longer, its sender repeats."""

REFUSED = "stock.refused"
"""What was refused then has to be refused now: its stock may be what another order got."""

QUIET_SECONDS = 3.0
POLL_SECONDS = 0.5
QUIET_TIMEOUT_SECONDS = 300
STEADY_SECONDS = 60

PROOFS = {
    "./souk orders rebuild": ("orders", "services.orders.commands", "rebuild"),
    "./souk stock audit": ("products", "services.products.commands", "audit"),
    "./souk payments reconcile": ("payments", "services.payments.commands", "reconcile", "--minutes", "0"),
}

_SERIES = re.compile(
    r"^(souk_messages_handled_total|souk_outbox_oldest_unsent_timestamp_seconds)(?:{.*})? (\S+)$", re.M
)


@dataclass
class Agreement:
    results: list[str] = field(default_factory=list)
    """The last line of each proof."""

    for_a_person: list[str] = field(default_factory=list)
    """What nobody but a person can decide."""


@dataclass(frozen=True)
class Again:
    """Messages that are sent again."""

    types: tuple[str, ...]
    since: datetime
    until: datetime | None = None
    to: str = ""
    """All who receive them by default."""

    @property
    def options(self) -> list[str]:
        options = ["--since", self.since.isoformat(), "--unless", REFUSED]
        if self.until is not None:
            return [*options, "--until", self.until.isoformat(), "--to", self.to]
        # What was handled before that moment must not be forgotten before what is sent again.
        return [*options, "--renew"]


def send_again(stack: Stack, since: datetime, until: datetime) -> int:
    """Messages sent between documents and PostgreSQL are there once more when the workers start. Returns their number."""
    declare_queues(stack)
    return sum(
        int(stack.run_once(sender, "chassis.run.resend", f"services.{sender}", *again.types, *again.options))
        for again in to_send_again(since - ON_THE_WAY, until)
        for sender in WITH_POSTGRES
    )


def to_send_again(since: datetime, until: datetime) -> list[Again]:
    """Oldest first.

    What services on PostgreSQL received long ago they have handled, and their inboxes may not remember it any more.
    """
    # Here, as every command would pay for it.
    from chassis.run.resend import MAX_AGE

    remembered = until - MAX_AGE
    types = {type_ for service in SERVICES for type_ in queues.types(service)}
    recent = Again(tuple(sorted(types)), max(since, remembered))
    if since >= remembered:
        return [recent]
    return [*(Again(tuple(queues.types(name)), since, remembered, name) for name in WITH_MONGO), recent]


def declare_queues(stack: Stack) -> None:
    """All, as a message to a missing queue has nowhere to go."""
    url = stack.backing.credentials("")["SOUK_BROKER_URL"]
    for service in SERVICES:
        if types := queues.types(service):
            broker.declare(url, service, list(types))


def reach(stack: Stack) -> Agreement:
    """Until the proofs hold. What they find unchanged for STEADY_SECONDS is for a person."""
    steady_since, before = time.monotonic(), list[str]()
    while True:
        _await_quiet(stack, time.monotonic() + QUIET_TIMEOUT_SECONDS)
        found = _prove(stack)
        if found.for_a_person != before:
            steady_since, before = time.monotonic(), [*found.for_a_person]
        if not found.for_a_person or time.monotonic() - steady_since > STEADY_SECONDS:
            stuck = stack.run_once("orders", "services.orders.commands", "sagas", "list").splitlines()
            found.for_a_person += [f"stuck order: {line}" for line in stuck[:-1]]
            return found


# --- inside


def _prove(stack: Stack) -> Agreement:
    found = Agreement()
    for title, command in PROOFS.items():
        try:
            output = stack.run_once(*command).splitlines()
        except LaunchError as error:
            output = [*error.last_lines]
            found.for_a_person += [f"{title}: {line}" for line in output[:-1]]
        found.results += [f"{title}: {line}" for line in output[-1:]]
    return found


def _await_quiet(stack: Stack, deadline: float) -> None:
    """Until nothing is unsent or waits in a queue, and nothing was handled for a while. What waits for a retry does not count."""
    waiting, before, since = threading.Event(), -1.0, time.monotonic()
    while time.monotonic() < deadline:
        unsent, handled = _activity(stack)
        if unsent or handled != before or _queued(stack):
            before, since = handled, time.monotonic()
        elif time.monotonic() - since > QUIET_SECONDS:
            return
        waiting.wait(POLL_SECONDS)


def _activity(stack: Stack) -> tuple[bool, float]:
    """Whether a message is unsent, and how many were handled."""
    unsent, handled = False, 0.0
    for service in SERVICES:
        for name, value in _series(stack, f"{service}-worker"):
            if name.startswith("souk_outbox"):
                unsent |= value > 0
            else:
                handled += value
    return unsent, handled


def _series(stack: Stack, program: str) -> Iterator[tuple[str, float]]:
    url = f"http://127.0.0.1:{stack.installation.ports[program]}/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    return ((name, float(value)) for name, value in _SERIES.findall(text))


def _queued(stack: Stack) -> int:
    names = [service for service in SERVICES if queues.types(service)]
    with broker.connect(stack.backing.credentials("")["SOUK_BROKER_URL"]) as connection:
        return sum(broker.depth(connection.default_channel, name) for name in names)
