"""Current entities, read-only; /config replaces them as a whole."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from flask import Flask, abort, make_response, request
from pydantic import ValidationError

from chassis.base.parsing import parse_json
from services.gateway.admin.access import Access
from services.gateway.config import schema
from services.gateway.config.configuration import CHILDREN, KINDS, REFERENCES, Configuration
from services.gateway.config.errors import ConfigError, as_lua, as_tree, message_of
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

NULL = {
    "acl": ("allow", "deny"),
    "cors": ("origins", "headers", "exposed_headers"),
    "ip-restriction": ("allow", "deny"),
    "jwt": ("claims_to_verify",),
}
"""Lists that Kong shows as null when empty."""

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
    if isinstance(entity, schema.KeyAuthCredential) and entity.ttl is None:
        del fields["ttl"]
    if isinstance(entity, schema.Upstream):
        active = fields["healthchecks"]["active"]
        active["headers"] = active["headers"] or None
    fields["created_at"] = configuration.loaded_at
    if kind in UPDATED:
        fields["updated_at"] = configuration.loaded_at
    return fields


def _with_defaults(entry: schema.Plugin, configuration: Configuration) -> dict[str, Any]:
    defaults = build(entry, configuration).config
    defaults |= {name: None for name in NULL.get(entry.name, ()) if not defaults[name]}
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
        kind, entities = PATHS[path], list(current().of(PATHS[path]).values())
        if kind == "consumers" and (custom_id := request.args.get("custom_id")):
            entities = [entity for entity in entities if getattr(entity, "custom_id", None) == custom_id]
        return visible(kind, _page(kind, entities, current(), f"/{path}"))

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
        child, children = _children(current(), kind, entity, inner)
        return visible(child, _page(child, children, current(), request.path))

    @app.get("/<path>/<reference>/<inner>/<rest>")
    def show_child(path: str, reference: str, inner: str, rest: str) -> dict[str, Any]:
        kind, entity = _find(current(), path, reference)
        child, children = _children(current(), kind, entity, inner)
        if (inner, rest) == ("targets", "all"):
            return visible(child, _page(child, children, current(), request.path))
        found = [each for each in children if rest in (each.id, getattr(each, KEYS.get(child, "name"), None))]
        return visible(child, shown(child, (found or abort(404))[0], current()))

    @app.post("/schemas/<path>/validate")
    def validate(path: str) -> tuple[dict[str, Any], int]:
        kind = path if path in MODELS else abort(404)
        fields = _violations(kind, _sent())
        return (_schema_violation(fields), 400) if fields else ({"message": "schema validation successful"}, 200)

    @app.route("/<path>", methods=WRITES)
    @app.route("/<path>/<reference>", methods=WRITES)
    @app.route("/<path>/<reference>/<inner>", methods=WRITES)
    @app.route("/<path>/<reference>/<inner>/<rest>", methods=WRITES)
    def reject_write(
        path: str, reference: str = "", inner: str = "", rest: str = ""
    ) -> tuple[dict[str, Any] | str, int]:
        kind = PATHS.get(path) or abort(405 if path in ("status", "metrics", "config") else 404)
        if inner:
            kind, reference = INSIDE.get(inner, REFERENCES.get(inner, inner)), rest
            if kind not in KINDS:
                abort(404)
        if (request.method == "POST") == bool(reference):
            abort(405)
        is_known = not reference or current().find(kind, reference) is not None
        if request.method == "DELETE":
            return (_no_database(kind, reference), 405) if is_known else ("", 204)
        fields = _violations(kind, _sent())
        if request.method == "PATCH":
            fields = {name: value for name, value in fields.items() if name in _sent()}
        if fields:
            return _schema_violation(fields), 400
        if request.method == "PATCH" and not is_known:
            return _not_found(kind, reference), 404
        return _no_database(kind, reference), 405


def _children(configuration: Configuration, kind: str, entity: Entity, inner: str) -> tuple[str, list[Entity]]:
    child = INSIDE.get(inner, inner)
    field = CHILDREN.get(kind, {}).get(child) or abort(404)
    return child, [each for each in configuration.of(child).values() if getattr(each, field) == entity.id]


def _sent() -> dict[str, Any]:
    if not request.is_json:
        if request.content_length and "form" not in (request.content_type or ""):
            abort(415)
        return request.form.to_dict()
    try:
        sent = parse_json(request.get_data(as_text=True))
    except ValueError:
        abort(make_response({"message": "Cannot parse JSON body"}, 400))
    return sent if isinstance(sent, dict) else {}


def _violations(kind: str, sent: dict[str, Any]) -> dict[str, Any]:
    """Kong validates before it refuses."""
    try:
        entity = MODELS[kind].model_validate(sent)
    except ValidationError as error:
        return as_tree([ConfigError(each["loc"] or ("@entity", 0), message_of(each)) for each in error.errors()])
    if isinstance(entity, schema.Plugin) and entity.name not in PLUGINS:
        return {"name": f"plugin '{entity.name}' not enabled; add it to the 'plugins' configuration property"}
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


def _not_found(kind: str, reference: str) -> dict[str, Any]:
    key = "id" if _is_uuid(reference) else KEYS.get(kind, "name")
    message = f"could not find the entity with '{as_lua({key: reference})}'"
    return {"code": 6, "name": "not found", "message": message, "fields": {key: reference}}


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
    wanted = request.args.get("tags")
    if wanted is not None and (not wanted or ("," in wanted and "/" in wanted)):
        reason = "invalid filter syntax" if wanted else "cannot be null"
        message = f"invalid option (tags: {reason})"
        refusal = {"code": 11, "name": "invalid options", "message": message, "options": {"tags": reason}}
        abort(make_response(refusal, 400))
    # Kong's order.
    chosen = sorted((each for each in entities if _has_tags(each, wanted)), key=lambda entity: entity.id)
    size, offset = request.args.get("size", "100"), request.args.get("offset", "0")
    start = int(offset) if offset.isdecimal() else len(chosen)
    if not size.isdecimal() or not 1 <= int(size) <= MAX_PAGE_SIZE:
        message = f"size must be an integer between 1 and {MAX_PAGE_SIZE}"
        abort(make_response({"code": 9, "name": "invalid size", "message": message}, 400))
    end = start + int(size)
    page: dict[str, Any] = {"data": [shown(kind, entity, configuration) for entity in chosen[start:end]]}
    page["next"] = None
    if end < len(chosen):
        page |= {"next": f"{path}?offset={end}&size={size}", "offset": str(end)}
    return page


def _has_tags(entity: Entity, wanted: str | None) -> bool:
    if wanted is None:
        return True
    if "/" in wanted:
        return not set(wanted.split("/")).isdisjoint(entity.tags)
    return set(wanted.split(",")) <= set(entity.tags)
