"""Changes requests for the upstream."""

import json
import re
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, urlencode

from pydantic import AfterValidator, Field

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Access, Plugin, PluginConfig
from services.gateway.plugins.transforming import HeaderChanges, change_record
from services.gateway.wire.fields import Fields

MAX_BODY_BYTES = 8 * 2**20

_TEMPLATE = re.compile(r"\$\((\w+)(?:\.(\w+)|\[\s*(?:\"([^\"]+)\"|'([^']+)'|(\d+))\s*\])\)")
_DASHED = re.compile(r"\$\((\w+)\.(\w+(?:-\w+)+)\)")
_FRAMING = frozenset({"transfer-encoding", "content-length"})
_SOURCES = ("headers", "query_params", "uri_captures")


def _template(text: str) -> str:
    """Only a header, parameter or capture, where Kong runs any Lua."""
    if dashed := _DASHED.search(text):
        source, name = dashed.groups()
        raise ValueError(f"{dashed[0]} subtracts, as it is Lua: write $({source}.{name.replace('-', '_')})")
    for source, *_ in _TEMPLATE.findall(text):
        if source not in _SOURCES:
            raise ValueError(f"$({source}...) is not supported; there are {', '.join(_SOURCES)}")
    if "$(" in _TEMPLATE.sub("", text):
        raise ValueError(
            "an expression in $(...) is not supported: only $(headers.x), $(query_params.x), $(uri_captures.x)"
        )
    return text


def _with_value(text: str) -> str:
    if not text.partition(":")[2]:
        raise ValueError(f"key '{text}' has no value")
    return _template(text)


Name = Annotated[str, Field(min_length=1)]
NameAndValue = Annotated[str, AfterValidator(_with_value)]


class Names(PluginConfig):
    headers: list[Name] = Field(default=[])
    querystring: list[Name] = Field(default=[])
    body: list[Name] = Field(default=[])


class Values(PluginConfig):
    headers: list[NameAndValue] = Field(default=[])
    querystring: list[NameAndValue] = Field(default=[])
    body: list[NameAndValue] = Field(default=[])


class Replacements(Values):
    uri: Annotated[str, AfterValidator(_template)] | None = None


class RequestTransformerConfig(PluginConfig):
    http_method: Annotated[str, Field(pattern="^[A-Za-z]+$")] | None = None
    remove: Names = Names()
    rename: Values = Values()
    replace: Replacements = Replacements()
    add: Values = Values()
    append: Values = Values()

    def changes(self, kind: str) -> bool:
        return any(getattr(step, kind) for step in (self.remove, self.rename, self.replace, self.add, self.append))


class RequestTransformer(Plugin):
    name, priority = "request-transformer", 801

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = RequestTransformerConfig.model_validate(entry.config or {})
        self._header_changes = HeaderChanges(self._config)
        self._changes_body = self._config.changes("body")
        self._changes_query = self._config.changes("querystring")

    def access(self, exchange: Exchange) -> Access:
        config = self._config
        if self._header_changes:
            exchange.reshape = lambda fields: self._shape(exchange, fields)
        if config.replace.uri is not None:
            exchange.upstream_path = _render(config.replace.uri, exchange)
        body = self._change_body(exchange) if self._changes_body and exchange.has_body else None
        if self._changes_query:
            self._change_query(exchange)
        if config.http_method is not None:
            exchange.upstream_method = config.http_method.upper()
        return body

    def _shape(self, exchange: Exchange, fields: Fields) -> None:
        host = fields.get("Host") or ""
        self._header_changes.apply(fields, lambda value: _render(value, exchange))
        if "Host" not in fields:
            fields.add("Host", host)
        fields.remove_all(_FRAMING)

    def _change_query(self, exchange: Exchange) -> None:
        query: dict[str, Any] = {
            name: values[0] if len(values) == 1 else values
            for name, values in parse_qs(exchange.query, keep_blank_values=True).items()
        }
        change_record(query, self._config, "querystring", lambda _, value, __: _render(value, exchange))
        exchange.query = urlencode(query, doseq=True, quote_via=quote, safe="")
        exchange.has_query = bool(query)

    async def _change_body(self, exchange: Exchange) -> Response | None:
        content_type = exchange.header("content-type") or ""
        is_json = "application/json" in content_type
        if not is_json and "application/x-www-form-urlencoded" not in content_type:
            return None
        kept = await exchange.body(MAX_BODY_BYTES)
        content = b"".join([block async for block in kept.blocks()]) if kept else b""
        try:
            record = json.loads(content or b"{}") if is_json else _form(content.decode())
        except (ValueError, RecursionError):
            return None
        if isinstance(record, dict):
            change_record(record, self._config, "body", lambda _, value, __: _render(value, exchange))
            text = (
                json.dumps(record, separators=(",", ":"))
                if is_json
                else urlencode(record, doseq=True, quote_via=quote, safe="")
            )
            exchange.set_body(text.encode())
        return None


def _form(text: str) -> dict[str, Any]:
    fields = parse_qs(text, keep_blank_values=True, strict_parsing=bool(text))
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _render(text: str, exchange: Exchange) -> str:
    if "$(" not in text:
        return text

    def value(found: re.Match[str]) -> str:
        source, *names = found.groups()
        return _value(exchange, source, next(name for name in names if name is not None)) or ""

    return _TEMPLATE.sub(value, text)


def _value(exchange: Exchange, source: str, name: str) -> str | None:
    if source == "headers":
        # Like Kong, read $(headers.x_y) as X-Y: Lua's names have no hyphens.
        return exchange.header(name) or exchange.header(name.replace("_", "-"))
    if source == "query_params":
        return next(iter(exchange.query_values(name)), None)
    return exchange.match.captures.get(name) if exchange.match else None
