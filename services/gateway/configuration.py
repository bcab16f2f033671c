"""A declarative file read into entities whose references are resolved: all of it, or a list of what is wrong with it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from uuid import UUID, uuid5

import yaml
from pydantic import ValidationError

from services.gateway.schema import (
    Consumer,
    Document,
    Entity,
    JWTSecret,
    Plugin,
    Route,
    Service,
    Target,
    Upstream,
)

CHILDREN = {
    "services": {"routes": "service", "plugins": "service"},
    "routes": {"plugins": "route"},
    "consumers": {"jwt_secrets": "consumer", "plugins": "consumer"},
    "upstreams": {"targets": "upstream"},
}
"""Which lists stand inside which entity, and the field by which a member refers to it."""

REFERENCES = {"service": "services", "route": "routes", "consumer": "consumers", "upstream": "upstreams"}

KINDS = ("services", "routes", "consumers", "jwt_secrets", "plugins", "upstreams", "targets")

# Kong derives a missing id so (kong/db/schema/others/declarative_config.lua). Equal routes are ranked by id: it must be the same.
_ID_NAMESPACE = UUID("fd02801f-0957-4a15-a55a-c8d9606f30b5")

E = TypeVar("E", bound=Entity)


class InvalidConfiguration(Exception):
    """`faults` has one line each: the place in the file, and what is wrong there."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass
class Configuration:
    """Entities by id; references are ids."""

    services: dict[str, Service] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    consumers: dict[str, Consumer] = field(default_factory=dict)
    jwt_secrets: dict[str, JWTSecret] = field(default_factory=dict)
    plugins: dict[str, Plugin] = field(default_factory=dict)
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    hash: str = ""
    """32 hex digits that change with the file."""

    def of(self, kind: str) -> dict[str, Entity]:
        entities: dict[str, Entity] = getattr(self, kind)
        return entities

    def find(self, kind: str, reference: str) -> str | None:
        """The id of the entity of that id or name."""
        entities = self.of(kind)
        if reference in entities:
            return reference
        return next((id_ for id_, entity in entities.items() if entity.natural_key == reference), None)


def load(text: str) -> Configuration:
    """Raises InvalidConfiguration, with every fault found."""
    configuration = Configuration(hash=hashlib.md5(text.encode(), usedforsecurity=False).hexdigest())
    faults: list[str] = []
    for kind, entity in _flattened(_parsed(text)):
        entities = configuration.of(kind)
        if entity.id in entities or (entity.natural_key and configuration.find(kind, entity.natural_key)):
            faults.append(f"{kind}: {entity.natural_key or entity.id} is declared twice")
        entities[entity.id] = entity
    for kind in KINDS:
        for id_, entity in configuration.of(kind).items():
            configuration.of(kind)[id_] = _resolved(kind, entity, configuration, faults)
    faults += _doubled_plugins(configuration)
    if faults:
        raise InvalidConfiguration(faults)
    return configuration


def _parsed(text: str) -> Document:
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except yaml.YAMLError as error:
        raise InvalidConfiguration([f"not YAML: {error}"]) from error
    try:
        return Document.model_validate(content)
    except ValidationError as error:
        raise InvalidConfiguration([describe(fault) for fault in error.errors()]) from error


def describe(fault: Any) -> str:
    """One of pydantic's errors as a line: `services[0].routes[1].hots: unknown field`."""
    place = ""
    for part in fault["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    message = "unknown field" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")
    return f"{place.removeprefix('.') or 'file'}: {message}"


def _flattened(document: Document) -> Iterator[tuple[str, Entity]]:
    for kind in KINDS:
        for position, entity in enumerate(getattr(document, kind)):
            yield from _with_children(kind, entity, f"{kind}/{position}")


def _with_children(kind: str, entity: E, place: str) -> Iterator[tuple[str, Entity]]:
    """The entity with an id, then those inside it, each referring to it."""
    if not entity.id:
        namespace = uuid5(_ID_NAMESPACE, kind)
        entity = entity.model_copy(update={"id": str(uuid5(namespace, entity.natural_key or place))})
    lists = CHILDREN.get(kind, {})
    yield kind, entity.model_copy(update={name: [] for name in lists})
    for child_kind, reference in lists.items():
        for position, child in enumerate(getattr(entity, child_kind)):
            child = child.model_copy(update={reference: entity.id})
            yield from _with_children(child_kind, child, f"{place}/{child_kind}/{position}")


def _resolved(kind: str, entity: Entity, configuration: Configuration, faults: list[str]) -> Entity:
    ids = {}
    for name, referred_kind in REFERENCES.items():
        reference = cast(str | None, getattr(entity, name, None))
        if reference is None:
            continue
        ids[name] = configuration.find(referred_kind, reference)
        if ids[name] is None:
            label = entity.natural_key or getattr(entity, "name", None) or entity.id
            faults.append(f"{kind} {label}: no {name} is called {reference}")
    return entity.model_copy(update=ids)


def _doubled_plugins(configuration: Configuration) -> list[str]:
    """One instance of a plugin for each combination of service, route and consumer."""
    seen, faults = set(), []
    for plugin in configuration.plugins.values():
        scope = (plugin.name, plugin.service, plugin.route, plugin.consumer)
        if scope in seen:
            faults.append(f"plugins: {plugin.name} is declared twice in the same place")
        seen.add(scope)
    return faults
