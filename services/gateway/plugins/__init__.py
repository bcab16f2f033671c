"""The plugins this gateway has. A new one is a module here with a subclass of Plugin, and its line below."""

from pydantic import ValidationError

from services.gateway import schema
from services.gateway.configuration import Configuration, InvalidConfiguration, describe
from services.gateway.plugins.base import Plugin
from services.gateway.plugins.correlation_id import CorrelationID
from services.gateway.plugins.cors import CORS
from services.gateway.plugins.jwt import JWT
from services.gateway.plugins.prometheus import Prometheus
from services.gateway.plugins.request_size_limiting import RequestSizeLimiting
from services.gateway.plugins.request_termination import RequestTermination

PLUGINS: dict[str, type[Plugin]] = {
    plugin.name: plugin for plugin in (CorrelationID, CORS, JWT, RequestSizeLimiting, Prometheus, RequestTermination)
}

ORDER = tuple(sorted(PLUGINS, key=lambda name: -PLUGINS[name].priority))
"""Names in the order in which they run."""


def build(entry: schema.Plugin, configuration: Configuration) -> Plugin:
    """The plugin that an entry of the file asks for. Raises InvalidConfiguration."""
    plugin = PLUGINS.get(entry.name)
    if plugin is None:
        raise InvalidConfiguration([f"plugins: {entry.name} is not supported; there are {', '.join(sorted(PLUGINS))}"])
    if entry.consumer is not None and not plugin.takes_consumer:
        raise InvalidConfiguration([f"plugins: {entry.name} cannot be for one consumer"])
    try:
        return plugin(entry.config or {}, configuration)
    except ValidationError as error:
        faults = [f"plugins: {entry.name}: config.{describe(fault)}" for fault in error.errors()]
        raise InvalidConfiguration(faults) from error
