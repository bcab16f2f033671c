"""The API key that this process shows to other services."""

from chassis.base.parsing import parse_json
from chassis.base.settings import Settings
from chassis.base.watched_file import WatchedFile


def api_key(settings: Settings) -> str:
    """The current key; "" where the process has none."""
    if settings.keys_file is None:
        return settings.api_key.get_secret_value()
    return settings.once(_file).now()


def _file(settings: Settings) -> WatchedFile[str]:
    assert settings.keys_file is not None
    return WatchedFile(settings.keys_file, lambda raw: str(parse_json(raw).get("api_key", "")))
