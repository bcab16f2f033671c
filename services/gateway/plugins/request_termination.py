"""Responds without an upstream."""

from typing import Literal, Self

from pydantic import Field, model_validator

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin, PluginConfig

_MESSAGES = {
    401: "Unauthorized",
    404: "Not found",
    405: "Method not allowed",
    500: "An unexpected error occurred",
    502: "Bad Gateway",
    503: "Service unavailable",
}
"""Unless configured; other statuses have nginx's page."""


class RequestTerminationConfig(PluginConfig):
    status_code: int = Field(default=503, ge=100, le=599)
    message: str | None = None
    body: str | None = None
    content_type: str | None = None
    trigger: str | None = None
    """Header or query parameter that a request must have."""
    echo: Literal[False] = False

    @model_validator(mode="after")
    def either_message_or_body(self) -> Self:
        if self.message is not None and (self.body is not None or self.content_type is not None):
            raise ValueError("message cannot be used with body or content_type")
        if self.content_type is not None and self.body is None:
            raise ValueError("content_type requires body")
        return self


class RequestTermination(Plugin):
    name, priority = "request-termination", 2

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = RequestTerminationConfig.model_validate(entry.config or {})

    def access(self, exchange: Exchange) -> Response | None:
        config = self._config
        if config.trigger and exchange.header(config.trigger) is None and not exchange.query_values(config.trigger):
            return None
        status = config.status_code
        if config.body is not None:
            content_type = config.content_type and responses.labelled(config.content_type)
            return responses.build(status, content_type, config.body.encode())
        message = config.message or _MESSAGES.get(status)
        if message is not None:
            return responses.plain_json(status, {"message": message})
        return responses.page(status) if status >= 300 else responses.build(status, None, b"")
