"""This process's API key."""

import hashlib
from typing import NamedTuple

from chassis.base.parsing import parse_json
from chassis.base.settings import Settings
from chassis.base.watched_file import WatchedFile


class _Content(NamedTuple):
    api_key: str
    digest: str


def api_key(settings: Settings) -> str:
    """Empty if there is none."""
    if settings.keys_file is None:
        return settings.api_key.get_secret_value()
    return settings.once(_file).now().api_key


def digest(settings: Settings) -> str:
    """Of the keys file in use; empty without one."""
    try:
        return settings.once(_file).refresh().digest if settings.keys_file else ""
    except (OSError, ValueError):
        return ""


def digest_of(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:16]


def _file(settings: Settings) -> WatchedFile[_Content]:
    assert settings.keys_file is not None
    return WatchedFile(
        settings.keys_file, lambda raw: _Content(str(parse_json(raw).get("api_key", "")), digest_of(raw))
    )
