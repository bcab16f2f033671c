"""Fixed addresses from the settings, for a machine where nothing keeps a catalogue."""

from collections.abc import Mapping, Sequence

from chassis.discovery.instance import Instance


class Addresses:
    def __init__(self, urls: Mapping[str, str]) -> None:
        """urls: base URLs by service, several of one service separated by commas."""
        self._known = {service: _instances(service, value) for service, value in urls.items()}

    def instances(self, service: str) -> Sequence[Instance]:
        return self._known.get(service, ())


def _instances(service: str, urls: str) -> tuple[Instance, ...]:
    parts = (url.strip().rstrip("/") for url in urls.split(","))
    return tuple(Instance(f"{service}-{number}", url) for number, url in enumerate(filter(None, parts), 1))
