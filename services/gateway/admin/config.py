"""/config: the file in force, and another one in its place: all of it at once, or not at all."""

import json
from typing import Any

from flask import Flask, Response, request

from services.gateway.admin.entities import shown
from services.gateway.config.configuration import CHILDREN, KINDS
from services.gateway.config.errors import Fault, InvalidConfiguration, tree
from services.gateway.runtime import Running


def register(app: Flask, running: Running) -> None:
    @app.get("/config")
    def config() -> dict[str, str]:
        return {"config": running.gateway.edge.configuration.text}

    @app.post("/config")
    def replace() -> Any:
        text = _sent()
        if text is None:
            return {"message": "expected a declarative configuration"}, 400
        if request.args.get("check_hash") in ("1", "true") and text == running.gateway.edge.configuration.text:
            return Response(status=304)
        try:
            edge = running.reload(text)
        except InvalidConfiguration as invalid:
            return _refusal(invalid, flat=request.args.get("flatten_errors") in ("1", "true")), 400
        loaded = edge.configuration
        return {
            kind: {id_: shown(kind, entity, loaded) for id_, entity in loaded.of(kind).items()}
            for kind in KINDS
            if loaded.of(kind)
        }, 201


def _sent() -> str | None:
    """`{"config": "<yaml>"}`, a form with that field or upload, a declarative file as JSON, or one as it is."""
    if "form" in (request.content_type or ""):
        upload = request.files.get("config")
        return upload.read().decode(errors="replace") if upload else request.form.get("config")
    text = request.get_data(as_text=True)
    if request.is_json:
        try:
            content = json.loads(text)
        except ValueError:
            return text
        if isinstance(content, dict) and set(content) == {"config"}:
            return str(content["config"])
    return text or None


_NAMES = {"jwt_secrets": "jwt_secret", "keyauth_credentials": "keyauth_credential"}


def _refusal(invalid: InvalidConfiguration, flat: bool) -> dict[str, Any]:
    """In Kong's shape; the lines are ours."""
    fields = tree([_as_entity_fault(fault) for fault in invalid.faults])
    body: dict[str, Any] = {
        "code": 14,
        "name": "invalid declarative configuration",
        "message": f"declarative config is invalid: {json.dumps(fields)}",
        "fields": {} if flat else fields,
        "lines": [str(fault) for fault in invalid.faults],
    }
    if flat:
        body["flattened_errors"] = _flattened(invalid.faults)
    return body


def _as_entity_fault(fault: Fault) -> Fault:
    """What is wrong with an entity as a whole stands under `@entity`, unless the entity as such is not wanted."""
    is_whole = bool(fault.location) and isinstance(fault.location[-1], int) and _is_entity(fault.location)
    if is_whole and not fault.message.startswith(("uniqueness", "expected")):
        return Fault((*fault.location, "@entity", 0), fault.message, fault.line)
    return fault


def _is_entity(location: tuple[str | int, ...]) -> bool:
    kinds = {*KINDS, *(child for children in CHILDREN.values() for child in children)}
    return len(location) >= 2 and location[-2] in kinds


def _flattened(faults: list[Fault]) -> list[dict[str, Any]]:
    """By the entity that is wrong."""
    found: dict[tuple[str | int, ...], dict[str, Any]] = {}
    for fault in faults:
        ends = [end for end in range(2, len(fault.location) + 1) if _is_entity(fault.location[:end])]
        place = fault.location[: max(ends, default=0)]
        kind = str(place[-2]) if place else "file"
        entity = found.setdefault(place, {"entity_type": _NAMES.get(kind, kind.removesuffix("s")), "errors": []})
        inside = ".".join(map(str, fault.location[len(place) :]))
        error = {"type": "field", "field": inside} if inside else {"type": "entity"}
        entity["errors"].append({**error, "message": fault.message, "line": fault.line})
    return list(found.values())
