"""Loads a declarative file."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar, cast
from uuid import UUID, uuid5

import yaml
from pydantic import ValidationError

from services.gateway.config.errors import ConfigError, InvalidConfiguration, Lines, Location, message_of
from services.gateway.config.schema import (
    ACL,
    BasicAuthCredential,
    Consumer,
    Document,
    Entity,
    JWTSecret,
    KeyAuthCredential,
    Plugin,
    Route,
    Service,
    Target,
    Upstream,
)

CHILDREN = {
    "services": {"routes": "service", "plugins": "service"},
    "routes": {"plugins": "route"},
    "consumers": {
        "jwt_secrets": "consumer",
        "keyauth_credentials": "consumer",
        "basicauth_credentials": "consumer",
        "acls": "consumer",
        "plugins": "consumer",
    },
    "upstreams": {"targets": "upstream"},
}
"""Nested lists, and the field for the parent."""

REFERENCES = {"service": "services", "route": "routes", "consumer": "consumers", "upstream": "upstreams"}

KINDS = (
    "services",
    "routes",
    "consumers",
    "jwt_secrets",
    "keyauth_credentials",
    "basicauth_credentials",
    "acls",
    "plugins",
    "upstreams",
    "targets",
)

# Kong derives a missing id from this (kong/db/schema/others/declarative_config.lua), and ranks equal routes by id.
_ID_NAMESPACE = UUID("fd02801f-0957-4a15-a55a-c8d9606f30b5")

E = TypeVar("E", bound=Entity)


@dataclass
class Configuration:
    """Entities by id; references are ids."""

    services: dict[str, Service] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    consumers: dict[str, Consumer] = field(default_factory=dict)
    jwt_secrets: dict[str, JWTSecret] = field(default_factory=dict)
    keyauth_credentials: dict[str, KeyAuthCredential] = field(default_factory=dict)
    basicauth_credentials: dict[str, BasicAuthCredential] = field(default_factory=dict)
    acls: dict[str, ACL] = field(default_factory=dict)
    plugins: dict[str, Plugin] = field(default_factory=dict)
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    text: str = ""
    hash: str = ""
    loaded_at: int = field(default_factory=lambda: int(time.time()))
    locations: dict[str, Location] = field(default_factory=dict)
    """By entity id."""
    lines: Lines = field(default_factory=lambda: Lines(None))

    def of(self, kind: str) -> dict[str, Entity]:
        entities: dict[str, Entity] = getattr(self, kind)
        return entities

    def find(self, kind: str, reference: str) -> str | None:
        """`reference`: id or name."""
        entities = self.of(kind)
        if reference in entities:
            return reference
        return next((id_ for id_, entity in entities.items() if entity.natural_key == reference), None)

    def error(self, entity: Entity, message: str, *inside: str | int) -> ConfigError:
        """`inside`: a place in the entity."""
        location = (*self.locations[entity.id], *inside)
        return ConfigError(location, message, self.lines.of(location))


def load(text: str) -> Configuration:
    """Raises InvalidConfiguration with every error."""
    document, lines = _parsed(text)
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    configuration = Configuration(text=text, hash=digest, lines=lines)
    errors: list[ConfigError] = []
    for kind, entity, location in _flattened(document):
        entities = configuration.of(kind)
        key = entity.natural_key
        is_duplicate = entity.id in entities or (key and configuration.find(kind, key))
        configuration.locations[entity.id] = location
        if is_duplicate:
            errors.append(
                configuration.error(entity, f"uniqueness violation: '{kind}' entity {_named(entity)} already declared")
            )
        entities[entity.id] = entity
    for kind in KINDS:
        for id_, entity in configuration.of(kind).items():
            configuration.of(kind)[id_] = _resolved(entity, configuration, errors)
    errors += _doubled_plugins(configuration)
    if errors:
        raise InvalidConfiguration(errors)
    return configuration


def _parsed(text: str) -> tuple[Document, Lines]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        node = loader.get_single_node()
        content = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise InvalidConfiguration([ConfigError((), f"not YAML: {error.problem}", line)]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidConfiguration([ConfigError((), f"not YAML: {error}")]) from error
    finally:
        loader.dispose()
    lines = Lines(node)
    if duplicates := list(lines.duplicate_keys()):
        raise InvalidConfiguration(duplicates)
    try:
        return Document.model_validate(content), lines
    except ValidationError as error:
        errors = [ConfigError(each["loc"], message_of(each), lines.of(each["loc"])) for each in error.errors()]
        raise InvalidConfiguration(errors) from error


def _flattened(document: Document) -> Iterator[tuple[str, Entity, Location]]:
    for kind in KINDS:
        for position, entity in enumerate(getattr(document, kind)):
            yield from _with_children(kind, entity, (kind, position))


def _with_children(kind: str, entity: E, location: Location) -> Iterator[tuple[str, Entity, Location]]:
    """Assigns ids and references."""
    if not entity.id:
        namespace = uuid5(_ID_NAMESPACE, kind)
        name = entity.natural_key or _cache_key(entity) or "/".join(map(str, location))
        entity = entity.model_copy(update={"id": str(uuid5(namespace, name))})
    lists = CHILDREN.get(kind, {})
    yield kind, entity.model_copy(update={name: [] for name in lists}), location
    for child_kind, reference in lists.items():
        for position, child in enumerate(getattr(entity, child_kind)):
            child = child.model_copy(update={reference: entity.id})
            yield from _with_children(child_kind, child, (*location, child_kind, position))


def _cache_key(entity: Entity) -> str | None:
    """What Kong names targets and plugins by, in any workspace."""
    match entity:
        case Target():
            return f"targets:*:{entity.upstream}:{entity.target}"
        case Plugin():
            scope = (entity.name, entity.route or "", entity.service or "", entity.consumer or "")
            return f"plugins:*:{':'.join(scope)}"
    return None


def _named(entity: Entity) -> str:
    """For logs: a key-auth credential's key is secret."""
    if isinstance(entity, KeyAuthCredential):
        return entity.id
    return entity.natural_key or getattr(entity, "name", None) or entity.id


def _resolved(entity: Entity, configuration: Configuration, errors: list[ConfigError]) -> Entity:
    ids: dict[str, str | None] = {}
    for name, kind in REFERENCES.items():
        reference = cast(str | None, getattr(entity, name, None))
        if reference is None:
            continue
        ids[name] = configuration.find(kind, reference)
        if ids[name] is None:
            message = f"invalid reference '{name}: {reference}' (no such entry in '{kind}')"
            errors.append(configuration.error(entity, message, name))
    return entity.model_copy(update=ids)


def _doubled_plugins(configuration: Configuration) -> list[ConfigError]:
    """One entry per plugin, service, route and consumer."""
    seen, errors = set(), []
    for plugin in configuration.plugins.values():
        scope = (plugin.name, plugin.service, plugin.route, plugin.consumer)
        if scope in seen:
            errors.append(
                configuration.error(plugin, f"uniqueness violation: {plugin.name} is declared twice for the same")
            )
        seen.add(scope)
    return errors
