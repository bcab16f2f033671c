"""The notifications service: what it serves, hears, does slowly and keeps an eye on."""

from chassis.service import Service, Timer
from services.notifications import digest, sweeper
from services.notifications.events import listener
from services.notifications.settings import Settings

service = Service(
    name="notifications",
    settings_class=Settings,
    routes="services.notifications.api.routes",
    listener=listener,
    tasks="services.notifications.tasks",
    timers=[Timer(sweeper.EVERY_SECONDS, sweeper.sweep), Timer(digest.EVERY_SECONDS, digest.send_due)],
    dead_rows="services.notifications.dead",
)
