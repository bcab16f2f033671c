"""The current entities, read-only: without a database, a new configuration is sent to /config as a whole."""

from collections.abc import Iterable
from typing import Any

from flask import Flask, abort, request

from services.gateway.config.configuration import CHILDREN, REFERENCES, Configuration
from services.gateway.config.schema import Entity
from services.gateway.runtime import Runtime

PATHS = {
    "services": "services",
    "routes": "routes",
    "consumers": "consumers",
    "plugins": "plugins",
    "upstreams": "upstreams",
    "targets": "targets",
    "jwts": "jwt_secrets",
    "key-auths": "keyauth_credentials",
    "acls": "acls",
}
"""Kind by path."""

INSIDE = {"jwt": "jwt_secrets", "key-auth": "keyauth_credentials"}
"""Nested paths that differ from their kind."""

MAX_PAGE_SIZE = 1000
WRITES = ("POST", "PUT", "PATCH", "DELETE")


def shown(kind: str, entity: Entity, configuration: Configuration) -> dict[str, Any]:
    """In Kong's format: without children, references as `{"id": ...}`."""
    fields = entity.model_dump(mode="json", by_alias=True, exclude=set(CHILDREN.get(kind, {})))
    for reference in REFERENCES:
        if reference in fields:
            fields[reference] = {"id": fields[reference]} if fields[reference] else None
    fields["created_at"] = fields["updated_at"] = configuration.loaded_at
    return fields


def register(app: Flask, runtime: Runtime) -> None:
    def current() -> Configuration:
        return runtime.gateway.edge.configuration

    @app.get("/<any({}):path>".format(", ".join(f'"{path}"' for path in PATHS)))
    def list_entities(path: str) -> dict[str, Any]:
        kind = PATHS[path]
        return _page(kind, current().of(kind).values(), current(), f"/{path}")

    @app.get("/<path>/<reference>")
    def show(path: str, reference: str) -> dict[str, Any]:
        kind, entity = _find(current(), path, reference)
        return shown(kind, entity, current())

    @app.get("/<path>/<reference>/<inner>")
    def show_nested(path: str, reference: str, inner: str) -> dict[str, Any]:
        kind, entity = _find(current(), path, reference)
        if inner in REFERENCES:
            other = getattr(entity, inner, None) or abort(404)
            return shown(REFERENCES[inner], current().of(REFERENCES[inner])[other], current())
        child = INSIDE.get(inner, inner)
        field = CHILDREN.get(kind, {}).get(child) or abort(404)
        children = [each for each in current().of(child).values() if getattr(each, field) == entity.id]
        return _page(child, children, current(), request.path)

    @app.route("/<path>", methods=WRITES)
    @app.route("/<path>/<path:rest>", methods=WRITES)
    def reject_write(path: str, rest: str = "") -> tuple[dict[str, Any], int]:
        if path not in PATHS:
            abort(405 if path in ("status", "metrics", "config") else 404)
        return _no_database(PATHS[path], rest), 405


def _no_database(kind: str, rest: str) -> dict[str, Any]:
    by = f" by '{'name' if kind != 'consumers' else 'username'}'" if rest else ""
    verb = {"POST": "create", "DELETE": "remove"}.get(request.method, "update")
    message = f"cannot {verb} '{kind}' entities{by} when not using a database"
    return {"code": 12, "name": "operation unsupported", "message": message}


def _find(configuration: Configuration, path: str, reference: str) -> tuple[str, Entity]:
    kind = PATHS.get(path) or abort(404)
    id_ = configuration.find(kind, reference) or abort(404)
    return kind, configuration.of(kind)[id_]


def _page(kind: str, entities: Iterable[Entity], configuration: Configuration, path: str) -> dict[str, Any]:
    """Filtered by `?tags=a,b` (all of them) or `?tags=a/b` (any), paged by `?size=` and `?offset=`."""
    wanted = request.args.get("tags", "")
    chosen = [entity for entity in entities if _has_tags(entity, wanted)]
    size = min(request.args.get("size", 100, type=int), MAX_PAGE_SIZE)
    start = request.args.get("offset", 0, type=int)
    end = start + max(size, 1)
    page: dict[str, Any] = {"data": [shown(kind, entity, configuration) for entity in chosen[start:end]]}
    page["next"] = f"{path}?offset={end}&size={size}" if end < len(chosen) else None
    return page


def _has_tags(entity: Entity, wanted: str) -> bool:
    if not wanted:
        return True
    if "/" in wanted:
        return not set(wanted.split("/")).isdisjoint(entity.tags)
    return set(wanted.split(",")) <= set(entity.tags)
