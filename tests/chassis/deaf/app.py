"""A service that hears one message, run as a process of its own by the tests."""

from chassis.base.settings import Settings
from chassis.messaging.handlers import Handlers
from chassis.run.service import Service
from contracts.users import UserDeleted

handlers = Handlers("deaf")


@handlers.on(UserDeleted)
def ignore(event: UserDeleted) -> None:
    """Nothing is to be done."""


service = Service("deaf", Settings, dict, handlers=handlers)
