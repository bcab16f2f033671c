"""Requires a key in header, query or body."""

import json
from typing import Annotated, Any
from urllib.parse import parse_qs, parse_qsl, urlencode

from pydantic import Field

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins.authentication import anonymous_fallback, identify
from services.gateway.plugins.base import Access, Plugin, PluginConfig

MAX_BODY_BYTES = 1_000_000


class KeyAuthConfig(PluginConfig):
    key_names: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] = Field(default=["apikey"])
    hide_credentials: bool = False
    anonymous: str | None = None
    key_in_header: bool = True
    key_in_query: bool = True
    key_in_body: bool = False
    run_on_preflight: bool = True
    realm: str | None = None


class KeyAuth(Plugin):
    name, priority, takes_consumer = "key-auth", 1250, False

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = KeyAuthConfig.model_validate(entry.config or {})
        self._fallback = anonymous_fallback(self._config.anonymous, configuration)
        self._consumers = configuration.consumers
        self._credentials = {credential.key: credential for credential in configuration.keyauth_credentials.values()}
        self._challenge = f'Key realm="{self._config.realm}"' if self._config.realm else "Key"

    def access(self, exchange: Exchange) -> Access:
        if exchange.method == "OPTIONS" and not self._config.run_on_preflight:
            return None
        if self._fallback is not None and exchange.is_authenticated:
            return None  # already authenticated
        if self._config.key_in_body and exchange.has_body:
            return self._with_body(exchange)
        return self._check(exchange, {})

    async def _with_body(self, exchange: Exchange) -> Response | None:
        body = await exchange.body(MAX_BODY_BYTES)
        content = (body.in_memory if body else None) or b""
        return self._check(exchange, _parsed(exchange.header("content-type") or "", content))

    def _check(self, exchange: Exchange, body: dict[str, Any]) -> Response | None:
        name, keys = self._sent_keys(exchange, body)
        credential = self._credentials.get(keys[0]) if len(keys) == 1 else None
        if credential is not None:
            identify(exchange, self._consumers[credential.consumer or ""], credential)
            if self._config.hide_credentials:
                self._hide(exchange, name, body)
            return None
        if self._fallback is not None:
            self._fallback(exchange)
            return None
        return responses.error(exchange, (401, _refusal(keys)), {"WWW-Authenticate": self._challenge})

    def _sent_keys(self, exchange: Exchange, body: dict[str, Any]) -> tuple[str, list[str]]:
        """The name it was sent under, and the key; several if repeated."""
        for name in self._config.key_names:
            keys = exchange.headers.all(name) if self._config.key_in_header else []
            if not keys and self._config.key_in_query:
                keys = exchange.query_values(name)
            if not keys and name in body:
                keys = body[name] if isinstance(body[name], list) else [str(body[name])]
            if keys:
                return name, keys
        return "", []

    def _hide(self, exchange: Exchange, name: str, body: dict[str, Any]) -> None:
        exchange.set_header(name, None)
        if exchange.query_values(name):
            kept = [pair for pair in parse_qsl(exchange.query, keep_blank_values=True) if pair[0] != name]
            exchange.query = urlencode(kept)
            exchange.has_query = bool(kept)
        if name in body:
            kept_body = {key: value for key, value in body.items() if key != name}
            is_json = "json" in (exchange.header("content-type") or "")
            text = json.dumps(kept_body, separators=(",", ":")) if is_json else urlencode(kept_body, doseq=True)
            exchange.set_body(text.encode())


def _refusal(keys: list[str]) -> str:
    if len(keys) > 1:
        return "Duplicate API key found"
    return "Unauthorized" if keys and keys[0] else "No API key found in request"


def _parsed(content_type: str, content: bytes) -> dict[str, Any]:
    """Empty unless a JSON object or form."""
    try:
        if content_type.startswith("application/json"):
            found = json.loads(content)
            return found if isinstance(found, dict) else {}
        if content_type.startswith("application/x-www-form-urlencoded"):
            fields = parse_qs(content.decode(), keep_blank_values=True)
            return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
    except (ValueError, RecursionError):
        return {}
    return {}
