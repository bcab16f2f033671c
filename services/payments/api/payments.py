"""/payments: pay something of one's own, and see what became of payments."""

from uuid import UUID

from chassis import auth
from chassis.api import Resource, endpoint
from chassis.money import to_minor
from chassis.outbox import enqueue
from chassis.paging import Page
from chassis.problems import NotFound
from services.payments import providers
from services.payments.api.schemas import NewPayment, PaymentPage, PaymentView
from services.payments.models import Payment, Terms
from services.payments.outcomes import ADVANCE


class Process(Resource):
    @endpoint(allow=auth.CUSTOMER, status=201, location="/payments/{id}", idempotency="required")
    def post(self, body: NewPayment) -> PaymentView:
        """Pay. 201, as for an order: the payment exists, pending; follow its Location to see what the provider says."""
        user_id = auth.caller().user_id
        assert user_id is not None
        terms = Terms(user_id, to_minor(body.amount), body.currency, body.payment_method)
        payment = Payment.direct(terms, body.capture, providers.default())
        enqueue(ADVANCE, payment.id)
        return PaymentView.model_validate(payment)


class OnePayment(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, payment_id: UUID) -> PaymentView:
        """One payment, as the provider last told of it."""
        return PaymentView.model_validate(Payment.visible_to(auth.caller(), payment_id))


class UserPayments(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, user_id: UUID, query: Page) -> PaymentPage:
        """One user's payments, newest first; only that user and staff may look."""
        if not auth.caller().owns(user_id):
            raise NotFound("You have no such user.")
        payments, following = Payment.page(query, user_id)
        return PaymentPage(items=[PaymentView.model_validate(payment) for payment in payments], next=following)
