"""What operators do about an order that waits or is stuck: from the terminal, and by the API inside."""

from uuid import UUID

from chassis.run.operations import ActionView, Why, act
from chassis.security import auth
from chassis.web.api import Resource, View, endpoint
from contracts.reasons import Audience, Note, Reason
from services.orders import deadlines, saga
from services.orders.models import Order


class StepView(View):
    command: str
    attempts: int
    due_at: str


class SagaView(View):
    """`steps`: the commands without a reply, oldest first."""

    status: str
    stuck_reason: str | None
    steps: list[StepView]

    @classmethod
    def of_order(cls, order: Order) -> "SagaView":
        steps = [
            StepView(command=key, attempts=step.attempts, due_at=step.due_at.isoformat())
            for key, step in order.open_steps.items()
        ]
        return cls(status=order.status, stuck_reason=order.stuck_reason if order.stuck_at else None, steps=steps)


def compensate(order: Order, by: str, note: Note | None = None) -> None:
    """Cancel, or go on with a cancellation. Raises InvalidTransition."""
    if order.is_called_off:
        deadlines.resume(order, by)
    else:
        saga.cancel(order, Reason.CANCELLED_BY_SHOP, note)


class Saga(Resource):
    @endpoint(allow=auth.STAFF)
    def get(self, order_id: UUID) -> SagaView:
        """What an order waits for."""
        return SagaView.of_order(Order.visible_to(auth.caller(), order_id))


class Resume(Resource):
    @endpoint(allow=auth.STAFF, idempotency="own")
    def post(self, order_id: UUID, body: Why) -> ActionView:
        """Repeat every command without a reply, and request what is still owed. Needs an Idempotency-Key."""

        def do() -> str:
            order = Order.get_for_update(order_id)
            deadlines.resume(order, str(auth.caller().user_id))
            return order.status

        return act("resume order", order_id, body.why, do)


class Compensate(Resource):
    @endpoint(allow=auth.STAFF, idempotency="own")
    def post(self, order_id: UUID, body: Why) -> ActionView:
        """Cancel an order in progress, and undo its steps. Needs an Idempotency-Key."""

        def do() -> str:
            order = Order.get_for_update(order_id)
            compensate(order, str(auth.caller().user_id), Note(body.why, Audience.STAFF))
            return order.status

        return act("compensate order", order_id, body.why, do)
