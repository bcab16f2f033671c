"""A service that handles one message by doing nothing; tests run it as a process."""

from chassis.base.settings import Settings
from chassis.messaging.handlers import Handlers
from chassis.run.service import Service
from contracts.users import UserDeleted

handlers = Handlers("idle")


@handlers.on(UserDeleted)
def ignore(event: UserDeleted) -> None:
    """Do nothing."""


service = Service("idle", Settings, dict, handlers=handlers)
