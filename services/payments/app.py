"""The payments service."""

from typing import TYPE_CHECKING

from chassis.run.service import Routes, Service, Timer
from services.payments import sweeper
from services.payments.handlers import handlers
from services.payments.models import Webhook
from services.payments.settings import Settings

if TYPE_CHECKING:
    from chassis.run.tasks import Tasks


def routes() -> Routes:
    from services.payments.api.routes import ROUTES

    return ROUTES


def tasks() -> "Tasks":
    from services.payments.tasks import tasks

    return tasks


service = Service(
    name="payments",
    title="Payments",
    about="Payments, refunds, saved means of payment.",
    settings_class=Settings,
    routes=routes,
    handlers=handlers,
    tasks=tasks,
    timers=[
        Timer(sweeper.EVERY_SECONDS, sweeper.sweep),
        Timer(600, sweeper.reconcile_daily),
        Timer(3_600, Webhook.purge),
    ],
)
