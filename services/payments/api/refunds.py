"""/payments/refund and /payments/{id}/refunds."""

from uuid import UUID

from chassis.base.problems import Conflict, NotFound
from chassis.security import auth
from chassis.web.api import Resource, endpoint
from contracts import money
from contracts.reasons import Audience, Note, Reader, Reason
from services.payments import outcomes
from services.payments.models import Payment, Refund, Status
from services.payments.models.refund import BY_STAFF
from services.payments.models.status import InvalidTransition
from services.payments.schemas import NewRefund, RefundList, RefundView


class NotRefundable(Conflict):
    type, title = "/problems/not-refundable", "Refund exceeds the refundable amount"


class Refunds(Resource):
    @endpoint(
        allow=auth.STAFF,
        status=201,
        location="/payments/{payment_id}/refunds",
        idempotency="required",
        raises=[NotFound],
    )
    def post(self, body: NewRefund) -> RefundView:
        """Refund part of a payment, or all that is left. Follow the Location for the outcome. Its order is notified."""
        payment = Payment.for_staff(body.payment_id)
        if payment.status != Status.CAPTURED:
            raise InvalidTransition(f"A {payment.status} payment cannot be refunded.", current=payment.status)
        left = payment.sums.refundable
        amount = body.amount if body.amount is not None else left
        if not 0 < amount <= left:
            raise NotRefundable(
                f"{money.text(left, payment.currency)} of this payment can still be refunded.",
                refundable=str(money.from_minor(left)),
            )
        note = Note(body.note.text, Audience(body.note.audience)) if body.note is not None else None
        refund = Refund.of(payment, amount, Reason.REFUNDED_BY_SHOP, BY_STAFF, note)
        outcomes.start_refund(refund, payment)
        return RefundView.of(refund, Reader.of(auth.caller()))


class RefundsOfPayment(Resource):
    @endpoint(allow=auth.OWNER)
    def get(self, payment_id: UUID) -> RefundList:
        """Every refund of one payment, oldest first."""
        payment, reader = Payment.visible_to(auth.caller(), payment_id), Reader.of(auth.caller())
        return RefundList(items=[RefundView.of(refund, reader) for refund in Refund.of_payment(payment.id)])
