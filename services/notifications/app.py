"""The notifications service: what it serves, hears, does slowly and keeps an eye on."""

from chassis.run.service import Service, Timer
from services.notifications import digest, sweeper
from services.notifications.handlers import handlers
from services.notifications.settings import Settings

service = Service(
    name="notifications",
    settings_class=Settings,
    routes="services.notifications.api.routes",
    handlers=handlers,
    tasks="services.notifications.tasks",
    timers=[Timer(sweeper.EVERY_SECONDS, sweeper.sweep), Timer(digest.EVERY_SECONDS, digest.send_due)],
    dead_rows="services.notifications.dead",
)
