"""/config: show the current file, or replace it as a whole."""

import json
from typing import Any

import yaml
from flask import Flask, Response, request

from chassis.base.parsing import parse_json
from services.gateway.admin.access import Access, blanked
from services.gateway.admin.entities import shown
from services.gateway.config.configuration import CHILDREN, KINDS
from services.gateway.config.errors import ConfigError, InvalidConfiguration, as_tree
from services.gateway.runtime import Runtime


def register(app: Flask, runtime: Runtime, access: Access) -> None:
    @app.get("/config")
    def config() -> dict[str, str]:
        text = runtime.gateway.edge.configuration.text
        return {"config": text if access.sees_secrets else yaml.safe_dump(blanked(yaml.safe_load(text)))}

    @app.post("/config")
    def replace() -> Any:
        text = _sent()
        if text is None:
            return {"message": "expected a declarative configuration"}, 400
        if request.args.get("check_hash") in ("1", "true") and text == runtime.gateway.edge.configuration.text:
            return Response(status=304)
        try:
            edge = runtime.reload(text)
        except InvalidConfiguration as invalid:
            return _refusal(invalid, flat=request.args.get("flatten_errors") in ("1", "true")), 400
        loaded = edge.configuration
        return {
            kind: {id_: shown(kind, entity, loaded) for id_, entity in loaded.of(kind).items()}
            for kind in KINDS
            if loaded.of(kind)
        }, 201


def _sent() -> str | None:
    """The file from `{"config": "<yaml>"}`, a form field or upload, or the body itself as JSON or YAML."""
    if "form" in (request.content_type or ""):
        upload = request.files.get("config")
        return upload.read().decode(errors="replace") if upload else request.form.get("config")
    text = request.get_data(as_text=True)
    if request.is_json:
        try:
            content = parse_json(text)
        except ValueError:
            return text
        if isinstance(content, dict) and set(content) == {"config"}:
            return str(content["config"])
    return text or None


_NAMES = {"jwt_secrets": "jwt_secret", "keyauth_credentials": "keyauth_credential"}


def _refusal(invalid: InvalidConfiguration, flat: bool) -> dict[str, Any]:
    """In Kong's format, to which we add `lines`."""
    fields = as_tree([_as_entity_error(error) for error in invalid.errors])
    body: dict[str, Any] = {
        "code": 14,
        "name": "invalid declarative configuration",
        "message": f"declarative config is invalid: {json.dumps(fields)}",
        "fields": {} if flat else fields,
        "lines": [str(error) for error in invalid.errors],
    }
    if flat:
        body["flattened_errors"] = _flattened(invalid.errors)
    return body


def _as_entity_error(error: ConfigError) -> ConfigError:
    """File errors of an entity as a whole under `@entity`, unless the entity itself is not wanted."""
    is_whole = bool(error.location) and isinstance(error.location[-1], int) and _is_entity(error.location)
    if is_whole and not error.message.startswith(("uniqueness", "expected")):
        return ConfigError((*error.location, "@entity", 0), error.message, error.line)
    return error


def _is_entity(location: tuple[str | int, ...]) -> bool:
    kinds = {*KINDS, *(child for children in CHILDREN.values() for child in children)}
    return len(location) >= 2 and location[-2] in kinds


def _flattened(errors: list[ConfigError]) -> list[dict[str, Any]]:
    """Grouped by entity."""
    found: dict[tuple[str | int, ...], dict[str, Any]] = {}
    for error in errors:
        ends = [end for end in range(2, len(error.location) + 1) if _is_entity(error.location[:end])]
        place = error.location[: max(ends, default=0)]
        kind = str(place[-2]) if place else "file"
        entity = found.setdefault(place, {"entity_type": _NAMES.get(kind, kind.removesuffix("s")), "errors": []})
        inside = ".".join(map(str, error.location[len(place) :]))
        described = {"type": "field", "field": inside} if inside else {"type": "entity"}
        entity["errors"].append({**described, "message": error.message, "line": error.line})
    return list(found.values())
