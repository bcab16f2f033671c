"""A log entry: Kong's fields, except those the file removes. No body, no token.

Fields are named by path, like `request.uri`.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from services.gateway.config.schema import Route, Service
from services.gateway.exchange.exchange import Exchange, Try
from services.gateway.exchange.responses import Response
from services.gateway.plugins import lua
from services.gateway.plugins.base import PluginConfig
from services.gateway.wire.fields import Fields

_encoded = json.JSONEncoder(separators=(",", ":")).encode

REDACTED = frozenset({"authorization", "proxy-authorization"})


class LogConfig(PluginConfig):
    custom_fields_by_lua: dict[str, Annotated[str, AfterValidator(lua.nothing)]] = Field(default={})
    """Each removes its key's field."""


class LogEntries:
    """Entries of one logger."""

    def __init__(self, config: LogConfig) -> None:
        removed = config.custom_fields_by_lua.keys()
        self._fields = [
            (*_split(field), make) for field, make in _FIELDS.items() if not removed & {field, _split(field)[0]}
        ]
        self._removed = [field for field in removed if field not in _FIELDS]
        self._records: dict[str, dict[str, Any]] = {}

    def line(self, exchange: Exchange, response: Response) -> str:
        made: dict[str, Any] = {}
        for record, name, make in self._fields:
            into = made.setdefault(record, {}) if record else made
            into[name] = make(exchange, response)
        if exchange.correlation_id is not None:
            made["correlation_id"] = exchange.correlation_id
        made |= self._matched(exchange)
        for field in self._removed:
            _remove(made, field)
        return _encoded(made)

    def _matched(self, exchange: Exchange) -> dict[str, Any]:
        made: dict[str, Any] = {}
        match = exchange.match
        if match is not None:
            made["route"] = self._record(match.route)
            if match.service is not None:
                made["service"] = self._record(match.service)
        if exchange.consumer is not None:
            consumer = exchange.consumer
            made["consumer"] = {
                "id": consumer.id,
                "username": consumer.username,
                "custom_id": consumer.custom_id,
            }
        if exchange.credential is not None:
            made["authenticated_entity"] = {"id": exchange.credential.id}
        return made

    def _record(self, entity: Route | Service) -> dict[str, Any]:
        """Cached: entities do not change during a logger's life."""
        if entity.id not in self._records:
            record = entity.model_dump(mode="json", exclude={"plugins", "routes"}, exclude_none=True)
            if "service" in record:
                record["service"] = {"id": record["service"]}
            self._records[entity.id] = record
        return self._records[entity.id]


def _split(field: str) -> tuple[str, str]:
    record, _, name = field.rpartition(".")
    return record, name


def _remove(made: dict[str, Any], field: str) -> None:
    *parents, last = field.split(".")
    node: Any = made
    for name in parents:
        node = node.get(name)
        if not isinstance(node, dict):
            return
    node.pop(last, None)


def _url(exchange: Exchange) -> str:
    return f"{exchange.scheme}://{exchange.hostname}:{exchange.head.port}{exchange.head.target}"


def _headers(fields: Fields) -> dict[str, Any]:
    """By lower-case name; lists if repeated; credentials redacted."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, value in fields:
        lower = name.lower()
        found[lower].append("REDACTED" if lower in REDACTED else value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _latencies(exchange: Exchange) -> dict[str, int]:
    """Milliseconds; `proxy` is -1 without an upstream's response."""
    whole = exchange.finished or exchange.seconds()
    waited = exchange.upstream_seconds
    before = (exchange.tried_at - exchange.started) if exchange.tried_at is not None else whole
    receive = max(whole - before - (waited or 0), 0) if waited is not None else 0
    return {
        "request": round(whole * 1000),
        "kong": round(max(whole - (waited or 0) - receive, 0) * 1000),
        "proxy": -1 if waited is None else round(waited * 1000),
        "receive": round(receive * 1000),
    }


def _tries(tries: Iterable[Try]) -> list[dict[str, Any]]:
    return [_try(each) for each in tries]


def _try(each: Try) -> dict[str, Any]:
    made: dict[str, Any] = {
        "ip": each.ip,
        "port": each.port,
        "balancer_latency": round(each.seconds * 1000),
        "balancer_start": int(each.started_at * 1000),
    }
    if each.failure is not None:
        made |= {"state": "failed", "code": each.failure}
    return made


_FIELDS: dict[str, Callable[[Exchange, Response], Any]] = {
    "started_at": lambda exchange, _: int(exchange.started_at * 1000),
    "client_ip": lambda exchange, _: exchange.client_ip,
    "request.id": lambda exchange, _: exchange.request_id,
    "request.method": lambda exchange, _: exchange.method,
    "request.uri": lambda exchange, _: exchange.head.target,
    "request.url": lambda exchange, _: _url(exchange),
    "request.size": lambda exchange, _: exchange.received_bytes,
    "request.querystring": lambda exchange, _: exchange.query_arguments(),
    "request.headers": lambda exchange, _: _headers(exchange.headers_after_plugins()),
    "response.status": lambda _, response: response.status,
    "response.size": lambda exchange, _: exchange.sent_bytes,
    "response.headers": lambda _, response: _headers(response.headers),
    "latencies": lambda exchange, _: _latencies(exchange),
    "tries": lambda exchange, _: _tries(exchange.tries),
    "upstream_uri": lambda exchange, _: exchange.upstream_uri.partition("?")[0],
    "upstream_status": lambda exchange, _: ", ".join(exchange.upstream_statuses),
    "source": lambda exchange, _: "upstream" if exchange.from_upstream else "kong",
    "workspace": lambda *_: "default",
    "workspace_name": lambda *_: "default",
}
