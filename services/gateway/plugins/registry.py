"""The gateway's plugins. A new one needs a line below."""

from pydantic import ValidationError

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.config.errors import InvalidConfiguration, message_of
from services.gateway.plugins.acl import ACL
from services.gateway.plugins.base import Misconfigured, Plugin
from services.gateway.plugins.basic_auth import BasicAuth
from services.gateway.plugins.bot_detection import BotDetection
from services.gateway.plugins.correlation_id import CorrelationID
from services.gateway.plugins.cors import CORS
from services.gateway.plugins.file_log import FileLog
from services.gateway.plugins.functions import PostFunction, PreFunction
from services.gateway.plugins.http_log import HTTPLog
from services.gateway.plugins.ip_restriction import IPRestriction
from services.gateway.plugins.jwt import JWT
from services.gateway.plugins.key_auth import KeyAuth
from services.gateway.plugins.prometheus import Prometheus
from services.gateway.plugins.rate_limiting import RateLimiting
from services.gateway.plugins.request_size_limiting import RequestSizeLimiting
from services.gateway.plugins.request_termination import RequestTermination
from services.gateway.plugins.request_transformer import RequestTransformer
from services.gateway.plugins.response_transformer import ResponseTransformer

PLUGINS: dict[str, type[Plugin]] = {
    plugin.name: plugin
    for plugin in (
        ACL,
        BasicAuth,
        BotDetection,
        CorrelationID,
        CORS,
        FileLog,
        HTTPLog,
        IPRestriction,
        JWT,
        KeyAuth,
        PostFunction,
        PreFunction,
        Prometheus,
        RateLimiting,
        RequestSizeLimiting,
        RequestTermination,
        RequestTransformer,
        ResponseTransformer,
    )
}

ORDER = tuple(sorted(PLUGINS, key=lambda name: -PLUGINS[name].priority))


def build(entry: schema.Plugin, configuration: Configuration) -> Plugin:
    """Raises InvalidConfiguration."""
    plugin = PLUGINS.get(entry.name)
    if plugin is None:
        message = f"plugin '{entry.name}' is not supported; there are {', '.join(sorted(PLUGINS))}"
        raise InvalidConfiguration([configuration.error(entry, message, "name")])
    if entry.consumer is not None and not plugin.takes_consumer:
        message = f"{entry.name} cannot be for one consumer: value must be null"
        raise InvalidConfiguration([configuration.error(entry, message, "consumer")])
    try:
        return plugin(entry, configuration)
    except ValidationError as error:
        raise InvalidConfiguration(
            [configuration.error(entry, message_of(each), "config", *each["loc"]) for each in error.errors()]
        ) from error
    except Misconfigured as error:
        raise InvalidConfiguration([configuration.error(entry, str(error), "config", *error.place)]) from error
