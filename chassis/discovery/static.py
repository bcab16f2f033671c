"""Fixed addresses from the settings."""

from collections.abc import Mapping, Sequence

from chassis.discovery.instance import Instance


class Addresses:
    def __init__(self, urls: Mapping[str, str]) -> None:
        """urls: comma-separated, by service."""
        self._instances_of = {service: _parse(service, value) for service, value in urls.items()}

    def instances(self, service: str) -> Sequence[Instance]:
        return self._instances_of.get(service, ())


def _parse(service: str, urls: str) -> tuple[Instance, ...]:
    parts = (url.strip().rstrip("/") for url in urls.split(","))
    return tuple(Instance(f"{service}-{number}", url) for number, url in enumerate(filter(None, parts), 1))
