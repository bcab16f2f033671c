"""The payments service: what it serves, hears, does slowly and keeps an eye on."""

from chassis.service import Service, Timer
from services.payments import sweeper
from services.payments.models import Webhook
from services.payments.saga import listener
from services.payments.settings import Settings

service = Service(
    name="payments",
    settings_class=Settings,
    routes="services.payments.api.routes",
    listener=listener,
    tasks="services.payments.tasks",
    timers=[
        Timer(sweeper.EVERY_SECONDS, sweeper.sweep),
        Timer(600, sweeper.reconcile_daily),
        Timer(3_600, Webhook.forget_old),
    ],
)
