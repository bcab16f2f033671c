"""A Consul agent's address and credentials."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from chassis.base.settings import Settings
from chassis.base.watched_file import WatchedFile

T = TypeVar("T")


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

    def with_tls(self, make: Callable[[ssl.SSLContext | None], T]) -> Callable[[], T]:
        """Gives what is made with the certificates, anew when they change. None is for plain HTTP."""
        if not self.url.startswith("https"):
            made = make(None)
            return lambda: made
        files = [Path(each) for each in (self.ca_file, self.certificate_file, self.key_file) if each]
        if not files:
            made = make(self._tls())
            return lambda: made
        return WatchedFile(files[0], lambda _: make(self._tls()), *files[1:]).now

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.certificate_file:
            context.load_cert_chain(self.certificate_file, self.key_file or None)
        return context
