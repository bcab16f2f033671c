"""Allows or denies consumers by group."""

from collections import defaultdict
from typing import Self

from pydantic import Field, model_validator

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin, PluginConfig


class ACLConfig(PluginConfig):
    allow: list[str] = Field(default=[])
    deny: list[str] = Field(default=[])
    hide_groups_header: bool = False

    @model_validator(mode="after")
    def _either_way(self) -> Self:
        if bool(self.allow) == bool(self.deny):
            raise ValueError("exactly one of these fields must be non-empty: allow, deny")
        return self


class ACL(Plugin):
    name, priority, takes_consumer = "acl", 950, False

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = ACLConfig.model_validate(entry.config or {})
        self._groups: dict[str, list[str]] = defaultdict(list)
        for acl in configuration.acls.values():
            self._groups[acl.consumer or ""].append(acl.group)

    def access(self, exchange: Exchange) -> Response | None:
        consumer = exchange.consumer
        groups = self._groups.get(consumer.id, []) if consumer is not None else []
        if not groups and not exchange.is_authenticated:
            return responses.error(exchange, (401, "Unauthorized"))
        is_in = not set(groups).isdisjoint(self._config.allow or self._config.deny)
        if is_in != bool(self._config.allow):
            return responses.error(exchange, (403, "You cannot consume this service"))
        shown = None if self._config.hide_groups_header else ", ".join(groups) or None
        exchange.set_header("X-Consumer-Groups", shown)
        return None
