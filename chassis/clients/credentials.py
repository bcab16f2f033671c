"""This process's API key."""

from chassis.base.parsing import parse_json
from chassis.base.settings import Settings
from chassis.base.watched_file import WatchedFile


def api_key(settings: Settings) -> str:
    """Empty if there is none."""
    if settings.keys_file is None:
        return settings.api_key.get_secret_value()
    return settings.once(_file).now()


def _file(settings: Settings) -> WatchedFile[str]:
    assert settings.keys_file is not None
    return WatchedFile(settings.keys_file, lambda raw: str(parse_json(raw).get("api_key", "")))
