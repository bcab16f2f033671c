"""Finds an upstream's instances. Look up before each call."""

from collections.abc import Sequence
from typing import Protocol

from chassis.base.settings import Settings
from chassis.discovery.instance import Instance

__all__ = ["Instance", "Provider", "provider"]


class Provider(Protocol):
    def instances(self, service: str) -> Sequence[Instance]:
        """Ready ones, else live ones. The same object while unchanged. Never raises."""


def provider(settings: Settings) -> Provider:
    # The Kubernetes client alone takes 20 MB.
    match settings.discovery or ("consul" if settings.consul_url else "static"):
        case "consul":
            from chassis.discovery import consul

            return consul.catalogue(consul.Agent.of(settings))
        case "kubernetes":
            from chassis.discovery import kubernetes

            return kubernetes.endpoint_slices(settings.kubernetes_namespace)
        case "dns":
            from chassis.discovery import dns

            return dns.Names(settings.discovery_name)
        case _:
            from chassis.discovery import static

            return static.Addresses(settings.services)
