"""Current entities, read-only; /config replaces them as a whole."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from flask import Flask, abort, make_response, request
from pydantic import ValidationError

from services.gateway.admin.access import Access
from services.gateway.config import schema
from services.gateway.config.configuration import CHILDREN, KINDS, REFERENCES, Configuration
from services.gateway.config.errors import ConfigError, as_tree, message_of
from services.gateway.config.schema import Entity
from services.gateway.plugins.registry import PLUGINS, build
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
    "basic-auths": "basicauth_credentials",
    "acls": "acls",
}

INSIDE = {"jwt": "jwt_secrets", "key-auth": "keyauth_credentials", "basic-auth": "basicauth_credentials"}

MODELS: dict[str, type[Entity]] = {
    "services": schema.Service,
    "routes": schema.Route,
    "consumers": schema.Consumer,
    "plugins": schema.Plugin,
    "upstreams": schema.Upstream,
    "targets": schema.Target,
    "jwt_secrets": schema.JWTSecret,
    "keyauth_credentials": schema.KeyAuthCredential,
    "basicauth_credentials": schema.BasicAuthCredential,
    "acls": schema.ACL,
}

KEYS = {
    "consumers": "username",
    "plugins": "instance_name",
    "targets": "target",
    "jwt_secrets": "key",
    "keyauth_credentials": "key",
    "basicauth_credentials": "username",
    "acls": "group",
}
"""The naming field, if not `name`."""

ABSENT: dict[str, dict[str, None]] = {
    "services": dict.fromkeys(("client_certificate", "ca_certificates", "tls_verify_depth")),
    "routes": dict.fromkeys(("snis", "sources", "destinations")),
    "upstreams": dict.fromkeys(("client_certificate",)),
}
"""Never set here."""

UPDATED = ("services", "routes", "consumers", "plugins", "upstreams", "targets")

EMPTY = (
    "certificates",
    "snis",
    "ca_certificates",
    "vaults",
    "keys",
    "key-sets",
    "hmac-auths",
    "oauth2",
    "filter-chains",
)
"""Kinds that tools list but no file here has."""

MAX_PAGE_SIZE = 1000
WRITES = ("POST", "PUT", "PATCH", "DELETE")


def shown(kind: str, entity: Entity, configuration: Configuration) -> dict[str, Any]:
    """In Kong's format: no children; references as `{"id": ...}`."""
    fields = entity.model_dump(mode="json", by_alias=True, exclude=set(CHILDREN.get(kind, {})))
    for name, value in fields.items():
        if value in ([], {}) and name not in entity.model_fields_set:
            fields[name] = None
    fields |= ABSENT.get(kind, {})
    for reference in REFERENCES:
        if reference in fields:
            fields[reference] = {"id": fields[reference]} if fields[reference] else None
    if isinstance(entity, schema.Plugin):
        fields["config"] = _with_defaults(entity, configuration)
    if isinstance(entity, schema.BasicAuthCredential):
        # Like Kong, salt with the consumer's id.
        salted = f"{entity.password}{entity.consumer}".encode()
        fields["password"] = hashlib.sha1(salted, usedforsecurity=False).hexdigest()
    fields["created_at"] = configuration.loaded_at
    if kind in UPDATED:
        fields["updated_at"] = configuration.loaded_at
    return fields


def _with_defaults(entry: schema.Plugin, configuration: Configuration) -> dict[str, Any]:
    defaults = build(entry, configuration).config
    return _merged(defaults, entry.config or {})


def _merged(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    deep = {name: _merged(defaults[name], value) for name, value in given.items() if _are_dicts(defaults, name, value)}
    return defaults | given | deep


def _are_dicts(defaults: dict[str, Any], name: str, value: Any) -> bool:
    return isinstance(value, dict) and isinstance(defaults.get(name), dict)


def register(app: Flask, runtime: Runtime, access: Access) -> None:
    def current() -> Configuration:
        return runtime.gateway.edge.configuration

    def visible(kind: str, content: dict[str, Any]) -> dict[str, Any]:
        visible: dict[str, Any] = access.shown({kind: content})[kind]
        return visible

    @app.get("/<any({}):path>".format(", ".join(f'"{path}"' for path in PATHS)))
    def list_entities(path: str) -> dict[str, Any]:
        kind = PATHS[path]
        return visible(kind, _page(kind, current().of(kind).values(), current(), f"/{path}"))

    @app.get("/<any({}):path>".format(", ".join(f'"{path}"' for path in EMPTY)))
    def list_nothing(path: str) -> dict[str, Any]:
        return {"data": [], "next": None}

    @app.get("/plugins/enabled")
    def enabled() -> dict[str, Any]:
        return {"enabled_plugins": sorted(PLUGINS)}

    @app.get("/<path>/<reference>")
    def show(path: str, reference: str) -> dict[str, Any]:
        kind, entity = _find(current(), path, reference)
        return visible(kind, shown(kind, entity, current()))

    @app.get("/<path>/<reference>/<inner>")
    def show_nested(path: str, reference: str, inner: str) -> dict[str, Any]:
        kind, entity = _find(current(), path, reference)
        if inner in REFERENCES:
            other = getattr(entity, inner, None) or abort(404)
            return shown(REFERENCES[inner], current().of(REFERENCES[inner])[other], current())
        child = INSIDE.get(inner, inner)
        field = CHILDREN.get(kind, {}).get(child) or abort(404)
        children = [each for each in current().of(child).values() if getattr(each, field) == entity.id]
        return visible(child, _page(child, children, current(), request.path))

    @app.route("/<path>", methods=WRITES)
    @app.route("/<path>/<reference>", methods=WRITES)
    @app.route("/<path>/<reference>/<inner>", methods=WRITES)
    @app.route("/<path>/<reference>/<inner>/<rest>", methods=WRITES)
    def reject_write(path: str, reference: str = "", inner: str = "", rest: str = "") -> tuple[dict[str, Any], int]:
        kind = PATHS.get(path) or abort(405 if path in ("status", "metrics", "config") else 404)
        if inner:
            kind, reference = INSIDE.get(inner, REFERENCES.get(inner, inner)), rest
            if kind not in KINDS:
                abort(404)
        if request.method in ("PUT", "POST") and (fields := _violations(kind)):
            return _schema_violation(fields), 400
        return _no_database(kind, reference), 405


def _violations(kind: str) -> dict[str, Any]:
    """Kong validates before it refuses."""
    sent = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    try:
        MODELS[kind].model_validate(sent or {})
    except ValidationError as error:
        return as_tree([ConfigError(each["loc"] or ("@entity", 0), message_of(each)) for each in error.errors()])
    return {}


def _schema_violation(fields: dict[str, Any]) -> dict[str, Any]:
    found = [f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in fields.items()]
    count = "schema violation" if len(found) == 1 else f"{len(found)} schema violations"
    return {"code": 2, "name": "schema violation", "message": f"{count} ({'; '.join(found)})", "fields": fields}


def _no_database(kind: str, reference: str) -> dict[str, Any]:
    """`reference`: the name, or the id if a UUID."""
    by_name = reference and not _is_uuid(reference)
    by = f" by '{KEYS.get(kind, 'name')}'" if by_name else ""
    verb = {"POST": "create", "DELETE": "remove", "PUT": "create or update"}.get(request.method, "update")
    message = f"cannot {verb} '{kind}' entities{by} when not using a database"
    return {"code": 12, "name": "operation unsupported", "message": message}


def _is_uuid(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def _find(configuration: Configuration, path: str, reference: str) -> tuple[str, Entity]:
    kind = PATHS.get(path) or abort(404)
    id_ = configuration.find(kind, reference) or abort(404)
    return kind, configuration.of(kind)[id_]


def _page(kind: str, entities: Iterable[Entity], configuration: Configuration, path: str) -> dict[str, Any]:
    """Filtered by `?tags=a,b` (all) or `?tags=a/b` (any), paged by `?size=` and `?offset=`."""
    wanted = request.args.get("tags", "")
    chosen = [entity for entity in entities if _has_tags(entity, wanted)]
    size, start = request.args.get("size", "100"), request.args.get("offset", 0, type=int)
    if not size.isdecimal() or not 1 <= int(size) <= MAX_PAGE_SIZE:
        message = f"size must be an integer between 1 and {MAX_PAGE_SIZE}"
        abort(make_response({"code": 9, "name": "invalid size", "message": message}, 400))
    end = start + int(size)
    page: dict[str, Any] = {"data": [shown(kind, entity, configuration) for entity in chosen[start:end]]}
    page["next"] = None
    if end < len(chosen):
        page |= {"next": f"{path}?offset={end}&size={size}", "offset": str(end)}
    return page


def _has_tags(entity: Entity, wanted: str) -> bool:
    if not wanted:
        return True
    if "/" in wanted:
        return not set(wanted.split("/")).isdisjoint(entity.tags)
    return set(wanted.split(",")) <= set(entity.tags)
