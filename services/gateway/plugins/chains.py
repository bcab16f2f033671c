"""The most specific entry of each plugin, in Kong's order."""

from dataclasses import dataclass

from services.gateway.config.configuration import Configuration
from services.gateway.config.errors import ConfigError, InvalidConfiguration
from services.gateway.config.schema import Consumer
from services.gateway.exchange.routing import Match
from services.gateway.plugins.base import Plugin
from services.gateway.plugins.registry import ORDER, build

Chain = tuple[Plugin | None, ...]
"""One place per name in ORDER: a consumer's chain can take over."""

# Consumer, route, service; most specific first.
_SPECIFICITY = [
    (True, True, True),
    (True, True, False),
    (True, False, True),
    (False, True, True),
    (True, False, False),
    (False, True, False),
    (False, False, True),
    (False, False, False),
]


@dataclass(frozen=True, slots=True)
class Entry:
    plugin: Plugin
    consumer: str | None
    route: str | None
    service: str | None

    def covers(self, consumer: str | None, route: str | None, service: str | None) -> bool:
        return self.consumer in (None, consumer) and self.route in (None, route) and self.service in (None, service)

    @property
    def rank(self) -> int:
        return _SPECIFICITY.index((self.consumer is not None, self.route is not None, self.service is not None))


class Chains:
    def __init__(self, configuration: Configuration) -> None:
        """Raises InvalidConfiguration with all plugins' errors."""
        self._entries: list[Entry] = []
        self._chosen: dict[tuple[str | None, str | None], Chain] = {}
        errors: list[ConfigError] = []
        for entry in configuration.plugins.values():
            try:
                plugin = build(entry, configuration)
            except InvalidConfiguration as invalid:
                errors += invalid.errors
            else:
                if entry.enabled:
                    self._entries.append(Entry(plugin, entry.consumer, entry.route, entry.service))
        if errors:
            raise InvalidConfiguration(errors)

    @property
    def plugins(self) -> list[Plugin]:
        return [entry.plugin for entry in self._entries]

    def choose(self, match: Match | None, consumer: Consumer | None) -> Chain:
        """Without a match, the global plugins."""
        route = match.route.id if match else None
        consumer_id = consumer.id if consumer else None
        chain = self._chosen.get((route, consumer_id))
        if chain is None:
            service = match.route.service if match else None
            chain = self._chosen[route, consumer_id] = self._best(consumer_id, route, service)
        return chain

    def _best(self, consumer: str | None, route: str | None, service: str | None) -> Chain:
        covering = [entry for entry in self._entries if entry.covers(consumer, route, service)]
        strongest_last = sorted(covering, key=lambda entry: -entry.rank)
        by_name = {entry.plugin.name: entry.plugin for entry in strongest_last}
        return tuple(by_name.get(name) for name in ORDER)
