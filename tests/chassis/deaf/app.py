"""A service that hears one message, run as a process of its own by the tests."""

from chassis.listener import Listener
from chassis.messages import UserDeleted
from chassis.service import Service
from chassis.settings import Settings

listener = Listener("deaf")


@listener.on(UserDeleted)
def ignore(event: UserDeleted) -> None:
    """Nothing is to be done."""


service = Service("deaf", Settings, {}, listener=listener)
