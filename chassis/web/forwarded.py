"""The client's address, as our edge appended it; the client may forge other entries."""

from functools import lru_cache
from ipaddress import ip_address, ip_network

from chassis.base.settings import Settings


def client_address(settings: Settings) -> str | None:
    """None outside of a request, or if invalid."""
    # Workers have no Flask.
    from flask import has_request_context, request

    if not has_request_context():
        return None
    return _find(request.remote_addr or "", request.headers.get("X-Forwarded-For", ""), settings)


def _find(peer: str, forwarded_for: str, settings: Settings) -> str | None:
    address = _address(peer)
    entries = [entry.strip() for entry in forwarded_for.split(",") if entry.strip()]
    if address is not None and _is_trusted(address, settings.trusted_proxies) and entries:
        address = _address(entries[-min(settings.trusted_hops, len(entries))])
    return address


def _address(text: str) -> str | None:
    try:
        return str(ip_address(text))
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def _is_trusted(address: str, networks: tuple[str, ...]) -> bool:
    return any(ip_address(address) in ip_network(network) for network in networks)
