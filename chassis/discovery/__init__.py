"""Where the instances of a upstream are: one interface, behind it the provider that the settings choose.

    instances = discovery.provider(settings).instances("products")

Consul's catalogue, Kubernetes, a DNS name or fixed addresses. Instances that are ready are given; where none is, those that
are alive. An answer comes from memory, which a thread of the provider keeps fresh, so asking before each call costs nothing.
"""

from collections.abc import Sequence
from typing import Protocol

from chassis.base.settings import Settings
from chassis.discovery.instance import Instance

__all__ = ["Instance", "Provider", "provider"]


class Provider(Protocol):
    def instances(self, service: str) -> Sequence[Instance]:
        """Those to call, as far as is known; the same object as long as nothing changes. Never raises."""


def provider(settings: Settings) -> Provider:
    """The one that `settings.discovery` names; where it names none, Consul if there is one, else fixed addresses."""
    # Each is imported where it is chosen: the Kubernetes client alone takes 20 MB.
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
