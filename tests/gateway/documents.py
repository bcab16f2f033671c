"""Declarative files for tests."""

from typing import Any

SECRET = "a secret that is long enough for HS256!"


def plugin(name: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "config": config}


def through(*plugins: dict[str, Any], consumers: Any = (), **route: Any) -> dict[str, Any]:
    """Forward every path to the upstream, with these plugins on the service."""
    route = {"name": "r", "paths": ["/"], "strip_path": False} | route
    service = {"name": "s", "url": "http://{upstream}", "routes": [route], "plugins": list(plugins)}
    return {"services": [service], "consumers": list(consumers)}
