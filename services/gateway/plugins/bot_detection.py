"""Refuses crawlers and other robots by User-Agent."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.base import Plugin, PluginConfig

ROBOTS = (
    r"[a-z0-9_-]*(?<!cu)bot\b",  # not the CUBOT telephones
    r"spider|crawl|scrape|scrapy|slurp|archiver",
    r"facebookexternalhit|pingdom|favicon|webzip|nutch|heritrix|htdig|mediapartners-google|newsgator|wordpress",
    r"google-http-java-client|apache-httpclient|http%20client|python-urllib|httpmonitor|tlsprober|winhttp|jnlp",
)
"""Kong's defaults."""


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a valid regex: {text}") from error
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class BotDetectionConfig(PluginConfig):
    allow: list[Pattern] = Field(default=[])
    deny: list[Pattern] = Field(default=[])


class BotDetection(Plugin):
    name, priority, takes_consumer = "bot-detection", 2500, False

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = BotDetectionConfig.model_validate(entry.config or {})
        self._allow = [re.compile(text) for text in self._config.allow]
        self._deny = [re.compile(text) for text in self._config.deny]
        self._robots = re.compile("|".join(ROBOTS), re.IGNORECASE)

    def access(self, exchange: Exchange) -> Response | None:
        """`allow` overrides `deny`; both override ROBOTS."""
        agents = exchange.headers.all("user-agent")
        if len(agents) != 1:
            # Like Kong, refuse a repeated header but not a missing one.
            return responses.error(exchange, (400, "Bad request")) if agents else None
        agent = agents[0]
        if any(pattern.search(agent) for pattern in self._allow):
            return None
        if any(pattern.search(agent) for pattern in self._deny) or self._robots.search(agent):
            return responses.error(exchange, (403, "Forbidden"))
        return None
