"""The users service: accounts, passwords, access tokens."""

from chassis.service import Service
from services.users.settings import Settings

service = Service(name="users", settings_class=Settings, routes="services.users.api.routes")
