"""/payments: direct payments and users' payments."""

from uuid import UUID

from chassis.base.problems import Conflict, NotFound
from chassis.security import auth
from chassis.storage.outbox import enqueue
from chassis.web.api import Resource, endpoint
from contracts.reasons import Reader
from services.payments import outcomes, providers
from services.payments.api.caller import user_id
from services.payments.models import Payment, Terms, ledger
from services.payments.schemas import EntryView, LedgerView, NewPayment, PaymentPage, PaymentsQuery, PaymentView


class BelongsToOrder(Conflict):
    type, title = "/problems/payment-of-an-order", "Payment belongs to an order"


class Process(Resource):
    @endpoint(allow=auth.CUSTOMER, status=201, location="/payments/{id}", idempotency="required")
    def post(self, body: NewPayment) -> PaymentView:
        """Pay. The payment is pending at first: follow its Location for the outcome."""
        terms = Terms(user_id(), body.amount, body.currency, body.payment_method)
        payment = Payment.direct(terms, body.capture, providers.default())
        enqueue(outcomes.ADVANCE, payment.id)
        return _view(payment)


class OnePayment(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, payment_id: UUID) -> PaymentView:
        """One payment, as last reported by the provider."""
        return _view(Payment.visible_to(auth.caller(), payment_id))


class Ledger(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, payment_id: UUID) -> LedgerView:
        """Every movement of the payment's money between accounts, oldest first."""
        payment = Payment.visible_to(auth.caller(), payment_id)
        return LedgerView(items=[EntryView.of(entry) for entry in ledger.entries(payment.id)])


class Capture(Resource):
    @endpoint(allow=auth.STAFF, status=202)
    def post(self, payment_id: UUID) -> PaymentView:
        """Capture an authorised direct payment. Its status shows when that is done."""
        payment = _direct(payment_id)
        payment.capture()
        outcomes.continue_payment(payment)
        return _view(payment)


class Void(Resource):
    @endpoint(allow=auth.STAFF, status=202)
    def post(self, payment_id: UUID) -> PaymentView:
        """Void a direct payment: an authorisation is released, a capture refunded. Its status shows when that is done."""
        payment = _direct(payment_id)
        payment.call_off()
        outcomes.continue_payment(payment)
        return _view(payment)


class UserPayments(Resource):
    @endpoint(allow=auth.OWNER, may_be_stale=True)
    def get(self, user_id: UUID, query: PaymentsQuery) -> PaymentPage:
        """A user's payments, newest first; with `order_id`, that order's. For that user and staff."""
        if not auth.caller().owns(user_id):
            raise NotFound("There is no user with this id.")
        reader = Reader.of(auth.caller())
        payments, following = Payment.page(query, user_id, query.order_id)
        sums = ledger.sums(payment.id for payment in payments)
        return PaymentPage(
            items=[PaymentView.of(payment, sums[payment.id], reader) for payment in payments], next=following
        )


def _direct(payment_id: UUID) -> Payment:
    payment = Payment.for_staff(payment_id)
    if payment.order_id is not None:
        raise BelongsToOrder("Cancel or refund the order instead.", order_id=str(payment.order_id))
    return payment


def _view(payment: Payment) -> PaymentView:
    return PaymentView.of(payment, payment.sums, Reader.of(auth.caller()))
