"""Kubernetes' EndpointSlices: which pods of a Service are to be called, watched through the Kubernetes client.

The process's service account must be allowed to list and watch endpointslices of its namespace. The client takes 20 MB of
memory; where that matters, the `dns` provider with a headless Service gives nearly the same.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch

from chassis.discovery.instance import Instance, base_url
from chassis.discovery.watch import Watches

PATIENCE_SECONDS = 60.0
"""How long the API server may keep a watch open while nothing changes."""

ANSWER_SECONDS = 5.0
PORT_NAME = "http"
"""Of a Service's ports the one with this name is called; of a single one the name does not matter."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@lru_cache
def endpoint_slices(namespace: str) -> Watches:
    """The process's one view of the cluster: the one it runs in, else the one of its kubeconfig."""
    cluster = client.Configuration()
    config.load_config(client_configuration=cluster)
    # The watch asks again itself, and says once that the API server is away; urllib3 would say it at each try.
    cluster.retries = False
    own = _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else "default"
    api = client.DiscoveryV1Api(client.ApiClient(cluster))
    return Watches(lambda service: Slices(api, namespace or own, service).ask, PATIENCE_SECONDS)


class Slices:
    """The slices of one Service: listed, and after any change listed again."""

    def __init__(self, api: Any, namespace: str, service: str) -> None:
        self._api = api
        self._query = {"namespace": namespace, "label_selector": f"kubernetes.io/service-name={service}"}
        self._version = ""

    def ask(self, patience_seconds: float) -> Sequence[Instance]:
        version, self._version = self._version, ""
        if version:
            self._wait(version, patience_seconds)
        listed = self._api.list_namespaced_endpoint_slice(**self._query, _request_timeout=ANSWER_SECONDS)
        self._version = listed.metadata.resource_version
        return _offered([found for each in listed.items for found in _endpoints(each)])

    def _wait(self, version: str, patience_seconds: float) -> None:
        """Until something has changed since `version`, or that version is forgotten, which the list then mends."""
        stream = watch.Watch().stream(
            self._api.list_namespaced_endpoint_slice,
            **self._query,
            resource_version=version,
            timeout_seconds=max(int(patience_seconds), 1),
            _request_timeout=patience_seconds + ANSWER_SECONDS,
        )
        try:
            next(iter(stream), None)
        except client.ApiException as error:
            if error.status != 410:
                raise


def _offered(found: Sequence[tuple[Instance, Any]]) -> Sequence[Instance]:
    """The ready ones; where there is none, all that are not about to go (why: see chassis/discovery/offered.py)."""
    # A condition that is not given counts as true, and that of going as false.
    ready = [instance for instance, said in found if said is None or said.ready is not False]
    return ready or [instance for instance, said in found if not said.terminating]


def _endpoints(endpoint_slice: Any) -> Iterable[tuple[Instance, Any]]:
    """Each with its conditions."""
    ports = endpoint_slice.ports or []
    port = next((each.port for each in ports if each.name == PORT_NAME), ports[0].port if len(ports) == 1 else None)
    for endpoint in endpoint_slice.endpoints or []:
        if port is not None:
            address = endpoint.addresses[0]
            name = endpoint.target_ref.name if endpoint.target_ref else address
            yield Instance(name, base_url(address, port)), endpoint.conditions
