"""/config: show or replace the current file."""

from typing import Any

import yaml
from flask import Flask, Response, abort, request

from chassis.base.parsing import parse_json
from services.gateway.admin.access import Access, blanked
from services.gateway.admin.entities import shown
from services.gateway.config.configuration import CHILDREN, KINDS
from services.gateway.config.errors import ConfigError, InvalidConfiguration, as_lua, as_tree
from services.gateway.runtime import Runtime

TRUE = ("1", "true", "on", "yes")


ACCEPTED = ("json", "yaml", "form")
"""In the content type."""


def register(app: Flask, runtime: Runtime, access: Access) -> None:
    @app.get("/config")
    def config() -> dict[str, str]:
        text = runtime.gateway.edge.configuration.text
        return {"config": text if access.sees_secrets else yaml.safe_dump(blanked(yaml.safe_load(text)))}

    @app.post("/config")
    def replace() -> Any:
        content_type = request.content_type or "yaml"
        if not any(kind in content_type for kind in ACCEPTED):
            abort(415)
        text = _sent()
        if text is None:
            return {"message": "expected a declarative configuration"}, 400
        if request.args.get("check_hash") in ("1", "true") and text == runtime.gateway.edge.configuration.text:
            return Response(status=304)
        try:
            edge = runtime.reload(text)
        except InvalidConfiguration as invalid:
            return _refusal(invalid, text, flat=request.args.get("flatten_errors", "").lower() in TRUE), 400
        loaded = edge.configuration
        return {
            kind: {id_: shown(kind, entity, loaded) for id_, entity in loaded.of(kind).items()}
            for kind in KINDS
            if loaded.of(kind)
        }, 201


def _sent() -> str | None:
    """From `{"config": "<yaml>"}`, a form field or upload, or a JSON or YAML body."""
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


def _refusal(invalid: InvalidConfiguration, text: str, flat: bool) -> dict[str, Any]:
    """Kong's format, plus `lines`."""
    outside = [error for error in invalid.errors if not (flat and _entity_of(error))]
    fields = as_tree([_as_entity_error(error) for error in outside])
    body: dict[str, Any] = {
        "code": 14,
        "name": "invalid declarative configuration",
        "message": f"declarative config is invalid: {as_lua(fields)}",
        "fields": fields,
        "lines": [str(error) for error in invalid.errors],
    }
    if flat:
        body["flattened_errors"] = _flattened(invalid.errors, text)
    return body


def _as_entity_error(error: ConfigError) -> ConfigError:
    """Errors of a whole entity go under `@entity`."""
    location = error.location
    if location[-1:] == ("config",) and "of these fields must be non-empty" in error.message:
        location = location[:-1]
    is_whole = bool(location) and isinstance(location[-1], int) and _is_entity(location)
    if is_whole and not error.message.startswith(("uniqueness", "expected")):
        return ConfigError((*location, "@entity", 0), error.message, error.line)
    return error


def _is_entity(location: tuple[str | int, ...]) -> bool:
    kinds = {*KINDS, *(child for children in CHILDREN.values() for child in children)}
    return len(location) >= 2 and location[-2] in kinds


def _entity_of(error: ConfigError) -> tuple[str | int, ...]:
    """The innermost; empty outside any."""
    ends = [end for end in range(2, len(error.location) + 1) if _is_entity(error.location[:end])]
    return error.location[: max(ends, default=0)]


def _flattened(errors: list[ConfigError], text: str) -> list[dict[str, Any]]:
    """By entity; places inside count from 1."""
    document, found = yaml.safe_load(text), dict[tuple[str | int, ...], dict[str, Any]]()
    for error in errors:
        place = _entity_of(error)
        if not place:
            continue
        if place not in found:
            found[place] = _described(str(place[-2]), _at(document, place))
        inside = ".".join(str(part + 1 if isinstance(part, int) else part) for part in error.location[len(place) :])
        described = {"type": "field", "field": inside} if inside else {"type": "entity"}
        found[place]["errors"].append({**described, "message": error.message, "line": error.line})
    return list(found.values())


def _described(kind: str, entity: Any) -> dict[str, Any]:
    fields = entity if isinstance(entity, dict) else {}
    shown = {name: value for name, value in fields.items() if name not in CHILDREN.get(kind, {})}
    known = {f"entity_{name}": fields[name] for name in ("name", "id", "tags") if fields.get(name)}
    return {"entity_type": kind.removesuffix("s"), **known, "entity": shown, "errors": []}


def _at(document: Any, place: tuple[str | int, ...]) -> Any:
    for part in place:
        document = document[part]
    return document
