"""One process for all operators. kopf watches their resources; what is done about them, a loop does.

kopf's own timers would put a finalizer on each resource, and without the operator its deletion would hang. So the watch only
wakes the loop, which lists what there is: a lost event costs an interval.
"""

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import kopf
from kopf._core.engines.peering import Identity
from prometheus_client import REGISTRY, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from structlog import get_logger

from chassis.base import failpoints, health, telemetry
from chassis.discovery.api_server import APIServer
from operators.canary.canary import Canary
from operators.keyring.keyring import Keyring
from operators.kubernetes import FORBIDDEN, GROUP, VERSION, Conflict, Kubernetes, Object, Refused, Unavailable
from operators.prometheus import Prometheus
from operators.reconciler import Events, Reconciler, reconcile
from operators.scaler.scaler import ConsumerScaler
from operators.settings import Settings

log = get_logger(__name__)

FAILED = Counter("souk_operator_failures_total", "Reconciliations that failed, by kind of resource.", ["kind"])

WATCH_SECONDS = 60
"""A watch that the network has silently dropped is replaced after this time."""

RETRY_SECONDS = 5.0
"""After a round in which something failed."""

START_SECONDS = 30.0
RETRY_START_SECONDS = 0.5
FORBIDDEN_SECONDS = 10.0
"""An API server that has just started does not know our rights yet. kopf, too, asks again for some time."""

MAX_IDLE_SECONDS = 120
"""Without progress for longer the process is restarted."""


class Reasons(Collector):
    """As a metric, which ends with its resource."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, str]] = {}
        """By kind and name, of the latest condition."""

    def collect(self) -> Iterator[Metric]:
        metric = GaugeMetricFamily(
            "souk_operator_reason", "1, with the reason in a resource's condition.", labels=["kind", "name", "reason"]
        )
        for kind, reasons in list(self.found.items()):
            for name, reason in reasons.items():
                metric.add_metric([kind, name, reason], 1)
        yield metric


class Loop:
    def __init__(self, kubernetes: Kubernetes, reconcilers: Sequence[Reconciler], interval_seconds: float) -> None:
        self._kubernetes, self._reconcilers, self._interval = kubernetes, reconcilers, interval_seconds
        self.reasons = Reasons()
        self._events = Events(kubernetes)
        self._wake = asyncio.Event()
        self._generations: dict[str, int] = {}
        self._progress_at = time.monotonic()
        self._stopping = False

    def stop(self) -> None:
        """After the current resource."""
        self._stopping = True

    def notice(self, resource: Object, is_gone: bool) -> None:
        """Wakes the loop if the resource is gone, or its spec is new."""
        uid, generation = resource["metadata"]["uid"], resource["metadata"]["generation"]
        if is_gone:
            self._generations.pop(uid, None)
            self._wake.set()
        elif self._generations.get(uid) != generation:
            self._generations[uid] = generation
            self._wake.set()

    def check(self) -> None:
        if time.monotonic() - self._progress_at > MAX_IDLE_SECONDS + self._interval:
            raise TimeoutError("A round hangs.")

    async def run(self) -> None:
        while True:
            self._wake.clear()
            is_done = await asyncio.to_thread(self._round)
            self._progress_at = time.monotonic()
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._wake.wait(), self._interval if is_done else min(self._interval, RETRY_SECONDS)
                )

    def _round(self) -> bool:
        """Whether nothing failed."""
        is_done = True
        for reconciler in self._reconcilers:
            try:
                resources = self._kubernetes.list(reconciler.plural)
            except (Unavailable, Refused) as error:
                log.warning("resources not listed", kind=reconciler.plural, reason=str(error))
                FAILED.labels(reconciler.plural).inc()
                is_done = False
                continue
            reasons: dict[str, str] = {}
            for resource in resources:
                if self._stopping:
                    return True
                # The server leaves them out of a list.
                kind = {"apiVersion": f"{GROUP}/{VERSION}", "kind": type(reconciler).__name__}
                status = self._reconcile(reconciler, {**kind, **resource})
                is_done &= status is not None
                for condition in (status or resource.get("status", {})).get("conditions", []):
                    reasons[resource["metadata"]["name"]] = condition["reason"]
                self._progress_at = time.monotonic()
            left = self._clear(reconciler)
            is_done &= left is not None
            known = self.reasons.found.get(reconciler.plural, {}) if left is None else left
            self.reasons.found[reconciler.plural] = {**known, **reasons}
            is_done &= self._post_events()
        return is_done

    def _clear(self, reconciler: Reconciler) -> dict[str, str] | None:
        """What is left of resources that are gone, with the reason; None if something failed."""
        try:
            return reconciler.clear(datetime.now(UTC))
        except Conflict as error:
            log.info("another one was faster", reason=str(error), kind=reconciler.plural)
            return None
        except (Unavailable, Refused) as error:
            log.warning("not cleared", reason=str(error), kind=reconciler.plural)
        except Exception as error:  # the others go on
            log.error("not cleared", exc_info=error, kind=reconciler.plural)
        FAILED.labels(reconciler.plural).inc()
        return None

    def _post_events(self) -> bool:
        """Whether none is left."""
        try:
            self._events.post()
        except (Unavailable, Refused) as error:
            log.warning("event not posted", reason=str(error))
            FAILED.labels("events").inc()
            return False
        return True

    def _reconcile(self, reconciler: Reconciler, resource: Object) -> Object | None:
        """Its status; None if something failed."""
        about = {"kind": reconciler.plural, "name": resource["metadata"]["name"]}
        try:
            return reconcile(self._kubernetes, self._events, reconciler, resource, datetime.now(UTC))
        except Conflict as error:
            log.info("another one was faster", reason=str(error), **about)
            return None
        except (Unavailable, Refused) as error:
            log.warning("not reconciled", reason=str(error), **about)
        except Exception as error:  # the others go on
            log.error("not reconciled", exc_info=error, **about)
        FAILED.labels(reconciler.plural).inc()
        return None


def run(settings: Settings) -> None:
    """Until SIGTERM. Raises Refused if the resources are not installed, Unavailable if the API server is not there in time."""
    telemetry.configure_logging("operators", settings.log_level)
    telemetry.BUILD.labels(settings.version).set(1)
    if settings.failpoints_directory:
        failpoints.arm(settings.failpoints_directory, "operators")
    server = APIServer.of(settings)
    kubernetes = Kubernetes(server)
    query = Prometheus(settings.metrics_url)
    reconcilers: list[Reconciler] = [ConsumerScaler(kubernetes, query), Keyring(kubernetes), Canary(kubernetes, query)]
    for reconciler in reconcilers:
        _wait_for(kubernetes, reconciler.plural)
    asyncio.run(_run(settings, server, kubernetes, reconcilers))


def _wait_for(kubernetes: Kubernetes, plural: str) -> None:
    """The API server answers 429 for a kind that it has just been given."""
    begun = time.monotonic()
    while True:
        try:
            kubernetes.list(plural)
            return
        except Unavailable:
            if time.monotonic() - begun > START_SECONDS:
                raise
        except Refused as refused:
            if refused.status != FORBIDDEN or time.monotonic() - begun > FORBIDDEN_SECONDS:
                raise
            log.info("not allowed yet", kind=plural)
        time.sleep(RETRY_START_SECONDS)


async def _run(
    settings: Settings, server: APIServer, kubernetes: Kubernetes, reconcilers: Sequence[Reconciler]
) -> None:
    loop = Loop(kubernetes, reconcilers, settings.interval_seconds)
    REGISTRY.register(loop.reasons)
    ready = asyncio.Event()
    operator = asyncio.create_task(
        kopf.operator(
            registry=_registry(server, loop, [each.plural for each in reconcilers]),
            settings=_kopf_settings(),
            namespaces=[kubernetes.namespace],
            standalone=True,
            # Else it is made of the user's name, and a pod's user has none.
            identity=Identity(socket.gethostname()),
            ready_flag=ready,
        )
    )
    # Made before kopf runs, which at its end cancels all later ones.
    rounds, handles_signals = asyncio.create_task(loop.run()), asyncio.create_task(ready.wait())
    await asyncio.wait([operator, rounds, handles_signals], return_when=asyncio.FIRST_COMPLETED)
    health.serve(health.Health({"loop": loop.check}), settings.host, settings.port)
    # The end of either ends the process.
    done, pending = await asyncio.wait([operator, rounds], return_when=asyncio.FIRST_COMPLETED)
    loop.stop()
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    for task in done:
        task.result()


def _registry(server: APIServer, loop: Loop, plurals: Sequence[str]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**_: object) -> kopf.ConnectionInfo:
        token = server.headers["Authorization"].removeprefix("Bearer ")
        return kopf.ConnectionInfo(
            server=server.url, ca_path=server.credentials / "ca.crt", token=token, default_namespace=server.namespace
        )

    for plural in plurals:

        @kopf.on.event(GROUP, VERSION, plural, registry=registry, id=plural)
        async def notice(event: kopf.RawEvent, **_: object) -> None:
            loop.notice(dict(event["object"]), event["type"] == "DELETED")

    return registry


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 10
    settings.watching.connect_timeout = 5
    settings.networking.request_timeout = 10
    settings.networking.connect_timeout = 5
    # Then the process ends, and is restarted.
    settings.networking.error_backoffs = (1, 2, 3, 5, 10)
    # Without it, the right to watch all namespaces and definitions would be needed.
    settings.scanning.disabled = True
    settings.posting.enabled = False
    return settings
