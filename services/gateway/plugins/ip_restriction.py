"""Allows or denies clients by address."""

import ipaddress
from functools import lru_cache
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin, PluginConfig


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"invalid ip or cidr range: '{text}'") from error
    return text


Network = Annotated[str, AfterValidator(_network)]


class IPRestrictionConfig(PluginConfig):
    allow: list[Network] = Field(default=[])
    deny: list[Network] = Field(default=[])
    status: Annotated[int, Field(ge=100, le=599)] = 403
    message: str | None = None

    @model_validator(mode="after")
    def _has_a_list(self) -> Self:
        if not self.allow and not self.deny:
            raise ValueError("at least one of these fields must be non-empty: allow, deny")
        return self


class IPRestriction(Plugin):
    name, priority = "ip-restriction", 990

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = IPRestrictionConfig.model_validate(entry.config or {})
        self._allow = [ipaddress.ip_network(text, strict=False) for text in self._config.allow]
        self._deny = [ipaddress.ip_network(text, strict=False) for text in self._config.deny]
        self._is_allowed = lru_cache(4096)(self._check)

    def access(self, exchange: Exchange) -> Response | None:
        if self._is_allowed(exchange.client_ip):
            return None
        message = self._config.message or f"IP address not allowed: {exchange.client_ip}"
        return responses.error(exchange, (self._config.status, message))

    def _check(self, ip: str) -> bool:
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            return False
        if any(address in network for network in self._deny):
            return False
        return not self._allow or any(address in network for network in self._allow)
