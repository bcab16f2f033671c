"""A Kubernetes API server's address and credentials."""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import quote

from chassis.base.settings import Settings
from chassis.base.watched_file import WatchedFile
from chassis.discovery.instance import base_url

T = TypeVar("T")

LOST = (410, 504)
"""Status of a watch whose version is too old, or of another cluster's future: list again."""


@dataclass(frozen=True)
class APIServer:
    url: str
    credentials: Path
    """With token, ca.crt and namespace, as in a pod."""

    namespace: str
    zone: str

    @classmethod
    def of(cls, settings: Settings) -> Self:
        url, credentials = settings.kubernetes_url, Path(settings.kubernetes_credentials)
        if not url:
            host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
            url = base_url(host, port, "https")
        namespace = settings.kubernetes_namespace or (credentials / "namespace").read_text().strip()
        return cls(url.rstrip("/"), credentials, namespace, settings.kubernetes_zone)

    @property
    def headers(self) -> dict[str, str]:
        # It changes every hour or so.
        return {"Authorization": f"Bearer {(self.credentials / 'token').read_text().strip()}"}

    def with_tls(self, make: Callable[[ssl.SSLContext], T]) -> Callable[[], T]:
        """Gives what is made with the CA's certificate, anew when that changes."""
        file = self.credentials / "ca.crt"
        return WatchedFile(file, lambda raw: make(ssl.create_default_context(cadata=raw.decode()))).now

    def path(self, service: str, namespace: str = "", watch_from: str = "", wait_seconds: float = 0) -> str:
        """Of the service's EndpointSlices: to list, or to watch from a version."""
        selector = quote(f"kubernetes.io/service-name={service}", safe="")
        namespace = quote(namespace or self.namespace, safe="")
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector={selector}"
        if not watch_from:
            return path
        seconds = max(int(wait_seconds), 1)
        return f"{path}&watch=1&allowWatchBookmarks=1&resourceVersion={watch_from}&timeoutSeconds={seconds}"
