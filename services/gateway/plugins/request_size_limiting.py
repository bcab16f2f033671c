"""Refuses large bodies."""

from typing import Literal

from pydantic import Field

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange import responses
from services.gateway.exchange.bodies import BodyTooLarge
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Access, Plugin, PluginConfig

UNITS = {"megabytes": 2**20, "kilobytes": 1024, "bytes": 1}

_MESSAGE = "Request size limit exceeded"


class RequestSizeLimitingConfig(PluginConfig):
    allowed_payload_size: int = Field(default=128, ge=0)
    size_unit: Literal["megabytes", "kilobytes", "bytes"] = "megabytes"
    require_content_length: bool = False


class RequestSizeLimiting(Plugin):
    name, priority = "request-size-limiting", 951

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = RequestSizeLimitingConfig.model_validate(entry.config or {})
        self._limit_bytes = self._config.allowed_payload_size * UNITS[self._config.size_unit]
        self._requires_length = self._config.require_content_length

    def access(self, exchange: Exchange) -> Access:
        announced = exchange.announced_length
        is_chunked = exchange.header("transfer-encoding") is not None
        if self._requires_length and announced is None and not is_chunked:
            return responses.error(exchange, (411, "A valid Content-Length header is required"))
        if announced is not None and announced > self._limit_bytes:
            expects = (exchange.header("expect") or "").strip().lower() == "100-continue"
            return responses.error(exchange, (417 if expects else 413, _MESSAGE))
        return self._counted(exchange) if is_chunked else None

    async def _counted(self, exchange: Exchange) -> Response | None:
        try:
            await exchange.body(self._limit_bytes)
        except BodyTooLarge:
            return responses.error(exchange, (413, _MESSAGE))
        return None
