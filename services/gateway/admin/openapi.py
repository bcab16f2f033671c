"""The services' OpenAPI documents, limited to what the edge routes."""

import copy
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import urllib3
from structlog import get_logger

from chassis.base.parsing import parse_json
from chassis.clients import tls
from services.gateway.exchange.routing import Router

log = get_logger(__name__)

CACHE_SECONDS = 30.0
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

_TIMEOUT = urllib3.Timeout(connect=0.5, read=3.0)
_PARAMETER = re.compile(r"\{[^{}]+\}")
_SAMPLE = "00000000-0000-0000-0000-000000000000"

Document = dict[str, Any]


class JoinedDocument:
    """`services`: base URL by name."""

    def __init__(self, services: Mapping[str, str], ca_file: str, router: Callable[[], Router]) -> None:
        self._router = router
        self._pools = {name: tls.pool(name, url, ca_file, retries=False) for name, url in services.items()}
        self._lock = threading.Lock()
        self._text = b""
        self._expires = 0.0

    def get(self) -> bytes:
        """As JSON, cached for CACHE_SECONDS, less while a service is missing."""
        with self._lock:
            if time.monotonic() >= self._expires:
                found = {name: self._fetch(name) for name in sorted(self._pools)}
                documents = {name: document for name, document in found.items() if document is not None}
                self._text = json.dumps(join(documents, self._router()), separators=(",", ":")).encode()
                cached = CACHE_SECONDS if len(documents) == len(found) else 1.0
                self._expires = time.monotonic() + cached
            return self._text

    def _fetch(self, name: str) -> Document | None:
        """None without a document or a response."""
        try:
            response = self._pools[name].request("GET", "/openapi.json", timeout=_TIMEOUT)
            document: Document = parse_json(response.data) if response.status == 200 else {}
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            log.warning("no OpenAPI document", service=name, error=repr(error))
            return None
        return document if isinstance(document, dict) and "paths" in document else None


def join(documents: Mapping[str, Document], router: Router) -> Document:
    """Prefix components and operations with their service; share security schemes."""
    joined: Document = {
        "openapi": max((str(document.get("openapi", "")) for document in documents.values()), default="3.0.3"),
        "info": {"title": "Souk", "version": "1", "description": "Every public operation, as the edge serves it."},
        "servers": [{"url": "/"}],
        "tags": [_tag(service, document) for service, document in documents.items()],
        "paths": {},
        "components": {},
    }
    for service, document in documents.items():
        document = _renamed(copy.deepcopy(document), service)
        for path, item in document["paths"].items():
            kept = {key: value for key, value in item.items() if key not in METHODS or _is_routed(router, key, path)}
            if any(method in kept for method in METHODS):
                joined["paths"].setdefault(path, {}).update(kept)
                _label(kept, service, _tag(service, document)["name"])
        for kind, components in document.get("components", {}).items():
            common = kind == "securitySchemes"
            # Generators name classes by a title, and two services may have one of the same name.
            names = {
                name if common else f"{service}.{name}": {key: content[key] for key in content if key != "title"}
                for name, content in components.items()
            }
            joined["components"].setdefault(kind, {}).update(names)
    return joined


def _is_routed(router: Router, method: str, path: str) -> bool:
    sample = _PARAMETER.sub(_SAMPLE, path)
    match = router.match(method.upper(), sample, "", lambda _: ())
    return match is not None and match.service is not None


def _tag(service: str, document: Document) -> dict[str, str]:
    info = document.get("info", {})
    about = info.get("description", "")
    return {"name": info.get("title", service), **({"description": about} if about else {})}


def _label(item: Document, service: str, tag: str) -> None:
    for operation in (item[method] for method in METHODS if method in item):
        operation["tags"] = [tag]
        if "operationId" in operation:
            operation["operationId"] = f"{service}.{operation['operationId']}"


def _renamed(content: Any, service: str) -> Any:
    if isinstance(content, dict):
        return {key: _renamed(value, service) for key, value in content.items()}
    if isinstance(content, list):
        return [_renamed(value, service) for value in content]
    if isinstance(content, str) and content.startswith("#/components/"):
        _, _, kind, name = content.split("/", 3)
        return content if kind == "securitySchemes" else f"#/components/{kind}/{service}.{name}"
    return content
