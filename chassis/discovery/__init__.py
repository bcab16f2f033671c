"""Finds an upstream's instances. Look up before each call."""

from collections.abc import Sequence
from typing import Protocol

from chassis.base.settings import Settings
from chassis.discovery.instance import Instance

__all__ = ["Instance", "Provider", "is_authenticated", "provider"]


class Provider(Protocol):
    def instances(self, service: str) -> Sequence[Instance]:
        """Ready ones, else live ones. The same object while unchanged. Never raises."""


def kind(settings: Settings) -> str:
    return settings.discovery or ("consul" if settings.consul_url else "static")


def is_authenticated(settings: Settings) -> bool:
    """Whether only our own programs can be found: Consul's ACLs let a sidecar register its own service only."""
    match kind(settings):
        case "consul":
            return bool(settings.consul_token.get_secret_value())
        case "dns":
            return False
        case _:
            return True


def provider(settings: Settings) -> Provider:
    # Each imports what it needs: memory is paid per process.
    match kind(settings):
        case "consul":
            from chassis.discovery import consul

            return consul.catalogue(consul.Agent.of(settings))
        case "kubernetes":
            from chassis.discovery import kubernetes

            return kubernetes.endpoint_slices(kubernetes.APIServer.of(settings))
        case "dns":
            from chassis.discovery import dns

            return dns.Names(settings.discovery_name)
        case _:
            from chassis.discovery import static

            return static.Addresses(settings.services)
