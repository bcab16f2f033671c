"""Requires a token signed with a consumer's key."""

import re
from functools import lru_cache
from typing import Annotated, Literal, Self

from jwt.exceptions import InvalidKeyError
from pydantic import Field, model_validator

from services.gateway.config import schema
from services.gateway.config.configuration import Configuration
from services.gateway.config.errors import InvalidConfiguration
from services.gateway.config.schema import JWTSecret
from services.gateway.exchange import responses
from services.gateway.exchange.exchange import Exchange
from services.gateway.exchange.responses import Response
from services.gateway.plugins import tokens
from services.gateway.plugins.authentication import anonymous_fallback, identify
from services.gateway.plugins.base import Plugin, PluginConfig
from services.gateway.plugins.tokens import Refused, Token

CACHED_TOKENS = 4096

_BEARER = re.compile(r"\s*[Bb]earer\s+(.+)")


class JWTConfig(PluginConfig):
    uri_param_names: list[str] = Field(default=["jwt"])
    cookie_names: list[str] = Field(default=[])
    header_names: list[str] = Field(default=["authorization"])
    key_claim_name: str = "iss"
    secret_is_base64: bool = False
    claims_to_verify: list[Literal["exp", "nbf"]] = Field(default=[])
    anonymous: str | None = None
    run_on_preflight: bool = True
    maximum_expiration: Annotated[float, Field(ge=0, le=31536000)] = 0
    realm: str | None = None

    @model_validator(mode="after")
    def _maximum_needs_exp(self) -> Self:
        if self.maximum_expiration > 0 and "exp" not in self.claims_to_verify:
            raise ValueError("maximum_expiration needs exp among claims_to_verify")
        return self


class JWT(Plugin):
    name, priority, takes_consumer = "jwt", 1450, False

    def __init__(self, entry: schema.Plugin, configuration: Configuration) -> None:
        self._config = JWTConfig.model_validate(entry.config or {})
        self._fallback = anonymous_fallback(self._config.anonymous, configuration)
        self._consumers = configuration.consumers
        self._credentials = {
            credential.key: (credential, self._prepare(credential, configuration))
            for credential in configuration.jwt_secrets.values()
        }
        self._verify_cached = lru_cache(CACHED_TOKENS)(self._verify_signature)
        challenge = f'Bearer realm="{self._config.realm}"' if self._config.realm else "Bearer"
        self._challenges = {False: challenge, True: f'{challenge} error="invalid_token"'}

    def _prepare(self, credential: JWTSecret, configuration: Configuration) -> tokens.Key:
        try:
            return tokens.prepare(
                credential.algorithm, credential.secret, credential.rsa_public_key, self._config.secret_is_base64
            )
        except (InvalidKeyError, ValueError) as error:
            raise InvalidConfiguration([configuration.error(credential, str(error))]) from error

    def access(self, exchange: Exchange) -> Response | None:
        if exchange.method == "OPTIONS" and not self._config.run_on_preflight:
            return None
        if self._fallback is not None and exchange.is_authenticated:
            return None  # already authenticated
        found = self._sent_tokens(exchange)
        try:
            credential = self._verify(found)
        except Refused as refused:
            if self._fallback is None:
                challenge = {"WWW-Authenticate": self._challenges[bool(found)]}
                return responses.plain_json(401, refused.content, challenge)
            self._fallback(exchange)
            return None
        identify(exchange, self._consumers[str(credential.consumer)], credential)
        return None

    def _sent_tokens(self, exchange: Exchange) -> set[str]:
        config = self._config
        found = [value for name in config.uri_param_names for value in exchange.query_values(name) if value]
        if config.cookie_names:
            cookies = exchange.cookies()
            found += [cookies[name] for name in config.cookie_names if cookies.get(name)]
        for name in config.header_names:
            found += [bearer[1] for value in exchange.headers.all(name) if (bearer := _BEARER.match(value))]
        return set(found)

    def _verify(self, found: set[str]) -> JWTSecret:
        """Raises Refused."""
        if len(found) != 1:
            raise Refused("Multiple tokens provided" if found else "Unauthorized")
        token, credential = self._verify_cached(next(iter(found)))
        tokens.check_claims(token.claims, self._config.claims_to_verify, self._config.maximum_expiration)
        return credential

    def _verify_signature(self, text: str) -> tuple[Token, JWTSecret]:
        """Independent of time, so cacheable. Raises Refused."""
        token = tokens.decode(text)
        credential, key = self._credentials.get(self._key_of(token), (None, None))
        if credential is None or key is None:
            raise Refused(f"No credentials found for given '{self._config.key_claim_name}'")
        if token.header["alg"] != key.algorithm:
            raise Refused("Invalid algorithm")
        if key.material is None:
            raise Refused("Invalid key/secret")
        if not key.signed(token):
            raise Refused("Invalid signature")
        return token, credential

    def _key_of(self, token: Token) -> str:
        name = self._config.key_claim_name
        key = token.claims.get(name)
        if key in (None, False):
            key = token.header.get(name)
        if key in (None, False):
            raise Refused(f"No mandatory '{name}' in claims")
        if key == "":
            raise Refused(f"Invalid '{name}' in claims")
        return str(key)
