"""Changes response headers, and members of a JSON object."""

import json
import re
from collections.abc import Awaitable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin, PluginConfig, Unusable
from services.gateway.plugins.transforming import HeaderChanges, change_record
from services.gateway.wire.upstream import BadResponse

MAX_BODY_BYTES = 8 * 2**20
"""Larger bodies are an error: they must not pass unchanged."""


def _with_value(text: str) -> str:
    if not text.partition(":")[2]:
        raise ValueError(f"key '{text}' has no value")
    return text


Name = Annotated[str, Field(min_length=1)]
NameAndValue = Annotated[str, AfterValidator(_with_value)]
JSONType = Literal["boolean", "number", "string"]


class Removals(PluginConfig):
    headers: list[Name] = Field(default=[])
    json_: list[Name] = Field(default=[], alias="json")


class Renamings(PluginConfig):
    headers: list[NameAndValue] = Field(default=[])
    json_: list[NameAndValue] = Field(default=[], alias="json")


class Values(Renamings):
    json_types: list[JSONType] = Field(default=[])


class ResponseTransformerConfig(PluginConfig):
    remove: Removals = Removals()
    rename: Renamings = Renamings()
    replace: Values = Values()
    add: Values = Values()
    append: Values = Values()

    @property
    def changes_json(self) -> bool:
        return any(step.json_ for step in (self.remove, self.rename, self.replace, self.add, self.append))


_JSON = re.compile(r"application/(?:[^;]*\+)?json", re.IGNORECASE)


class Whole:
    """A body sent in chunks, as Kong's are whose length it cannot know."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self) -> bytes:
        content, self._content = self._content, b""
        return content

    def close(self) -> None: ...


class ResponseTransformer(Plugin):
    name, priority = "response-transformer", 800

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = ResponseTransformerConfig.model_validate(entry.config or {})
        self._header_changes = HeaderChanges(self._config)
        self._changes_json = self._config.changes_json

    def header_filter(self, exchange: Exchange, response: Response) -> Awaitable[None] | None:
        self._header_changes.apply(response.headers)
        if self._changes_json and _JSON.match(response.headers.get("Content-Type") or ""):
            return self._change_body(exchange, response)
        return None

    async def _change_body(self, exchange: Exchange, response: Response) -> None:
        if exchange.method == "HEAD":
            response.headers.remove("Content-Length")
            return
        content = response.body if isinstance(response.body, bytes) else await _whole(response.body)
        try:
            record = json.loads(content)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            change_record(record, self._config, "json_", self._value)
            content = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
        response.body = Whole(content)
        response.headers.remove("Content-Length")

    def _value(self, step: str, value: str, place: int) -> Any:
        types = getattr(self._config, step).json_types
        kind = types[place] if place < len(types) else "string"
        if kind == "boolean":
            return value == "true"
        if kind == "number":
            try:
                return int(value) if value.lstrip("-").isdecimal() else float(value)
            except ValueError:
                return None
        return value


async def _whole(body: responses.Blocks) -> bytes:
    """Raises Unusable."""
    blocks, size = [], 0
    try:
        while block := await body.read():
            size += len(block)
            if size > MAX_BODY_BYTES:
                raise Unusable(responses.UNEXPECTED)
            blocks.append(block)
    except TimeoutError as error:
        raise Unusable(responses.TIMING_OUT) from error
    except (OSError, BadResponse) as error:
        raise Unusable(responses.INVALID_RESPONSE) from error
    finally:
        body.close()
    return b"".join(blocks)
