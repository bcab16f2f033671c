"""The users service: accounts, passwords, tokens."""

from chassis.run.service import Routes, Service
from services.users.settings import Settings
from services.users.timers import TIMERS


def routes() -> Routes:
    from services.users.api.routes import ROUTES

    return ROUTES


service = Service(
    name="users",
    title="Accounts",
    about="Register, log in and out, profile, preferences, roles.",
    settings_class=Settings,
    routes=routes,
    timers=TIMERS,
)
