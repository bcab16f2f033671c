"""What the operators ask of the API server."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import urllib3

from chassis.discovery.api_server import APIServer

GROUP, VERSION = "souk.dev", "v1alpha1"
TIMEOUT = urllib3.Timeout(connect=3, read=10)

FORBIDDEN = 403

Object = dict[str, Any]


class Unavailable(Exception):
    """The API server does not respond, or has an error of its own."""


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Conflict(Refused):
    """The object has changed since it was read."""


class Missing(Refused):
    pass


_REFUSALS = {404: Missing, 409: Conflict}


class Kubernetes:
    """In one namespace. Every call raises Unavailable or Refused."""

    def __init__(self, server: APIServer) -> None:
        self.namespace = server.namespace
        self._server = server
        self._pool = server.with_tls(lambda tls: urllib3.PoolManager(ssl_context=tls, timeout=TIMEOUT, retries=False))

    def list(self, plural: str) -> list[Object]:
        found: list[Object] = self._request("GET", self._path(plural))["items"]
        return found

    def pods(self) -> Sequence[Object]:
        found: list[Object] = self._request("GET", self._path("pods", "v1"))["items"]
        return found

    def secret(self, name: str) -> Object:
        return self._request("GET", self._path(f"secrets/{name}", "v1"))

    def create_secret(self, name: str, labels: Mapping[str, str], data: Mapping[str, str]) -> None:
        """Raises Conflict if there is one. data: in base64."""
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "data": data}
        self._request("POST", self._path("secrets", "v1"), body)

    def update_secret(self, secret: Object, data: Mapping[str, str]) -> None:
        """Raises Conflict if it has changed since."""
        body = {**secret, "data": {**secret["data"], **data}}
        self._request("PUT", self._path(f"secrets/{secret['metadata']['name']}", "v1"), body)

    def read(self, version: str, resource: str) -> Object | None:
        """resource: PLURAL/NAME. None if there is none."""
        try:
            return self._request("GET", self._path(resource, version))
        except Missing:
            return None

    def create(self, version: str, plural: str, body: Object) -> None:
        """Raises Conflict if there is one."""
        self._request("POST", self._path(plural, version), body)

    def replace(self, version: str, plural: str, body: Object) -> None:
        """Raises Conflict if it has changed since `body` was read."""
        self._request("PUT", self._path(f"{plural}/{body['metadata']['name']}", version), body)

    def delete(self, version: str, plural: str, found: Object) -> None:
        """What it owns goes with it. Nothing if there is none. Raises Conflict if there is another one of its name by now."""
        metadata = found["metadata"]
        options = {"propagationPolicy": "Background", "preconditions": {"uid": metadata["uid"]}}
        with suppress(Missing):
            self._request("DELETE", self._path(f"{plural}/{metadata['name']}", version), options)

    def annotate_pod(self, name: str, annotations: Mapping[str, str]) -> None:
        body = {"metadata": {"annotations": annotations}}
        self._request("PATCH", self._path(f"pods/{name}", "v1"), body, "application/merge-patch+json")

    def deployments(self, labels: Mapping[str, str]) -> Sequence[Object]:
        selector = urlencode({"labelSelector": ",".join(f"{name}={value}" for name, value in labels.items())})
        found: list[Object] = self._request("GET", self._path(f"deployments?{selector}", "apps/v1"))["items"]
        return found

    def deployment(self, name: str) -> Object:
        return self._request("GET", self._path(f"deployments/{name}", "apps/v1"))

    def scale(self, deployment: Object, replicas: int) -> None:
        """Raises Conflict if the deployment has changed since."""
        metadata = {key: deployment["metadata"][key] for key in ("name", "namespace", "resourceVersion")}
        body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas}}
        self._request("PUT", self._path(f"deployments/{metadata['name']}/scale", "apps/v1"), body)

    def write_status(self, plural: str, resource: Object, status: Object) -> None:
        """Raises Conflict if another has written since `resource` was read: of two operators one goes on."""
        path = self._path(f"{plural}/{resource['metadata']['name']}/status")
        self._request("PUT", path, {**resource, "status": status})

    def post_event(self, resource: Object, reason: str, message: str, is_warning: bool, now: str) -> None:
        metadata = resource["metadata"]
        subject = {key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")}
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": self.namespace},
            "involvedObject": {"apiVersion": resource["apiVersion"], "kind": resource["kind"], **subject},
            "type": "Warning" if is_warning else "Normal",
            "reason": reason,
            "message": message,
            "source": {"component": "souk-operators"},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        self._request("POST", self._path("events", "v1"), body)

    # --- inside

    def _path(self, resource: str, version: str = f"{GROUP}/{VERSION}") -> str:
        return f"/{'apis' if '/' in version else 'api'}/{version}/namespaces/{self.namespace}/{resource}"

    def _request(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> Object:
        data = None if body is None else json.dumps(body)
        try:
            headers = {**self._server.headers, "Content-Type": content_type}
            response = self._pool().request(method, self._server.url + path, body=data, headers=headers)
            found: Object = response.json()
        except (OSError, urllib3.exceptions.HTTPError, ValueError) as error:
            raise Unavailable(f"{method} {path}: {error}") from error
        if response.status >= 500 or response.status == 429:
            raise Unavailable(f"{method} {path}: {response.status}")
        if response.status >= 300:
            raise _REFUSALS.get(response.status, Refused)(response.status, f"{method} {path}: {found.get('message')}")
        return found
