"""The notifications service: what it serves, hears, does slowly and keeps an eye on."""

from chassis.service import Service, Timer
from services.notifications.events import listener
from services.notifications.settings import Settings
from services.notifications.tasks import sweep, tasks

service = Service(
    name="notifications",
    settings_class=Settings,
    routes="services.notifications.api.routes",
    listener=listener,
    tasks=tasks,
    timers=[Timer(30, sweep)],
)
