"""The environment of the reviews service."""

from chassis.base import settings


class Settings(settings.Settings):
    pass
