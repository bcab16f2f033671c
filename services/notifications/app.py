"""The notifications service."""

from typing import TYPE_CHECKING

from chassis.run.service import Routes, Service, Timer
from services.notifications import digest, sweeper
from services.notifications.handlers import handlers
from services.notifications.settings import Settings

if TYPE_CHECKING:
    from chassis.run.dead_rows import DeadRows
    from chassis.run.tasks import Tasks


def routes() -> Routes:
    from services.notifications.api.routes import ROUTES

    return ROUTES


def tasks() -> "Tasks":
    from services.notifications.tasks import tasks

    return tasks


def dead_rows() -> "DeadRows":
    from services.notifications import dead_letters

    return dead_letters


service = Service(
    name="notifications",
    title="Notifications",
    about="Mails, SMS and push messages, and who wants which.",
    settings_class=Settings,
    routes=routes,
    handlers=handlers,
    tasks=tasks,
    timers=[Timer(sweeper.EVERY_SECONDS, sweeper.sweep), Timer(digest.EVERY_SECONDS, digest.send_due)],
    dead_rows=dead_rows,
)
