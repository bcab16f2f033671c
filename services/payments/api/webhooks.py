"""/payments/webhooks, open to anyone: nothing unsigned is parsed, and the charge is looked up, not believed."""

from flask import request

from chassis.base.problems import NotFound, Problem
from chassis.security import auth
from chassis.storage.outbox import enqueue
from chassis.web.api import Resource, View, endpoint
from services.payments import providers
from services.payments.models import Webhook
from services.payments.outcomes import PROCESS_WEBHOOK
from services.payments.providers.interface import Event
from services.payments.providers.signature import Unverified

MAX_BYTES = 524_288
"""Stripe's events can exceed 64 KiB, and it gives up on an endpoint that refuses them."""


class NotSigned(Problem):
    type, status, title = "/problems/webhook-not-signed", 400, "Invalid webhook signature"


class TooLarge(Problem):
    type, status, title = "/problems/webhook-too-large", 413, "Webhook too large"


class WebhookReceipt(View):
    is_new: bool


def verified(provider: str) -> Event:
    """Verifies the signature before parsing."""
    if (request.content_length or 0) > MAX_BYTES or len(body := request.get_data()) > MAX_BYTES:
        raise TooLarge(f"A webhook may have at most {MAX_BYTES} bytes.")
    try:
        sender = providers.named(provider)
        return sender.event(body, request.headers.get(sender.signature_header, ""))
    except KeyError:
        raise NotFound("There is no payment provider of this name.") from None
    except Unverified as error:
        raise NotSigned(str(error)) from error


class Webhooks(Resource):
    @endpoint(allow=auth.ANYONE, before=verified, raises=[TooLarge])
    def post(self, provider: str, prepared: Event) -> WebhookReceipt:
        """For providers: receive a signed event. A repeated event changes nothing."""
        # PostgreSQL stores no NUL.
        body = request.get_data(as_text=True).replace("\0", "\N{REPLACEMENT CHARACTER}")
        about = {"payment_id": prepared.payment_id, "reference": prepared.reference}
        webhook_id = Webhook.store(provider, body, event_id=prepared.id, type=prepared.type, **about)
        if webhook_id is not None:
            enqueue(PROCESS_WEBHOOK, webhook_id)
        return WebhookReceipt(is_new=webhook_id is not None)
