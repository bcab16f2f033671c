"""Kubernetes EndpointSlices; the service account must be allowed to list and watch them."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch

from chassis.discovery.instance import Instance, base_url
from chassis.discovery.watch import Watches

WAIT_SECONDS = 60.0
"""How long the API server may hold a watch."""

RESPONSE_SECONDS = 5.0
PORT_NAME = "http"
"""Unless there is a single port."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@lru_cache
def endpoint_slices(namespace: str) -> Watches:
    """In-cluster, or by kubeconfig."""
    cluster = client.Configuration()
    config.load_config(client_configuration=cluster)
    # Watch retries; urllib3 would log every try.
    cluster.retries = False
    own = _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"
    api = client.DiscoveryV1Api(client.ApiClient(cluster))
    return Watches(lambda service: Slices(api, namespace or own, service).fetch, WAIT_SECONDS)


class Slices:
    def __init__(self, api: Any, namespace: str, service: str) -> None:
        self._api = api
        self._query = {"namespace": namespace, "label_selector": f"kubernetes.io/service-name={service}"}
        self._version = ""

    def fetch(self, wait_seconds: float) -> Sequence[Instance]:
        version, self._version = self._version, ""
        if version:
            self._wait(version, wait_seconds)
        listed = self._api.list_namespaced_endpoint_slice(**self._query, _request_timeout=RESPONSE_SECONDS)
        self._version = listed.metadata.resource_version
        return _usable([found for each in listed.items for found in _endpoints(each)])

    def _wait(self, version: str, wait_seconds: float) -> None:
        """Until something changes, or `version` has expired."""
        stream = watch.Watch().stream(
            self._api.list_namespaced_endpoint_slice,
            **self._query,
            resource_version=version,
            timeout_seconds=max(int(wait_seconds), 1),
            _request_timeout=wait_seconds + RESPONSE_SECONDS,
        )
        try:
            next(iter(stream), None)
        except client.ApiException as error:
            if error.status != 410:
                raise


def _usable(found: Sequence[tuple[Instance, Any]]) -> Sequence[Instance]:
    """Ready ones, else those not terminating (see `usable.py`)."""
    # A missing `ready` counts as true, `terminating` as false.
    ready = [instance for instance, conditions in found if conditions is None or conditions.ready is not False]
    return ready or [instance for instance, conditions in found if not conditions.terminating]


def _endpoints(endpoint_slice: Any) -> Iterable[tuple[Instance, Any]]:
    ports = endpoint_slice.ports or []
    port = next((each.port for each in ports if each.name == PORT_NAME), ports[0].port if len(ports) == 1 else None)
    for endpoint in endpoint_slice.endpoints or []:
        if port is not None:
            address = endpoint.addresses[0]
            name = endpoint.target_ref.name if endpoint.target_ref else address
            yield Instance(name, base_url(address, port)), endpoint.conditions
