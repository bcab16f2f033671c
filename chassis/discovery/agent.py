"""A Consul agent's address and credentials."""

import ssl
from dataclasses import dataclass
from typing import Self

from chassis.base.settings import Settings


@dataclass(frozen=True)
class Agent:
    url: str
    token: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.consul_url.rstrip("/"),
            settings.consul_token.get_secret_value(),
            settings.consul_ca_file,
            settings.consul_certificate_file,
            settings.consul_key_file,
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Consul-Token": self.token} if self.token else {}

    def tls(self) -> ssl.SSLContext | None:
        """None for plain HTTP."""
        if not self.url.startswith("https"):
            return None
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file or None)
        return context
