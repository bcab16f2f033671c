"""The users service: accounts, passwords, access tokens."""

from chassis.run.service import Service
from services.users.settings import Settings
from services.users.timers import TIMERS

service = Service(name="users", settings_class=Settings, routes="services.users.api.routes", timers=TIMERS)
