"""The payments service: what it serves, hears, does slowly and keeps an eye on."""

from chassis.run.service import Service, Timer
from services.payments import sweeper
from services.payments.handlers import handlers
from services.payments.models import Webhook
from services.payments.settings import Settings

service = Service(
    name="payments",
    settings_class=Settings,
    routes="services.payments.api.routes",
    handlers=handlers,
    tasks="services.payments.tasks",
    timers=[
        Timer(sweeper.EVERY_SECONDS, sweeper.sweep),
        Timer(600, sweeper.reconcile_daily),
        Timer(3_600, Webhook.forget_old),
    ],
)
