"""/payments/methods: saved tokens from the provider's page, never card numbers."""

from uuid import UUID

from chassis.security import auth
from chassis.web.api import Resource, endpoint
from services.payments.api.caller import user_id
from services.payments.models import PaymentMethod
from services.payments.models.method import TooManyMethods
from services.payments.schemas import MethodList, MethodView, NewMethod


class Methods(Resource):
    @endpoint(allow=auth.CUSTOMER)
    def get(self) -> MethodList:
        """Your payment methods, newest first."""
        methods = PaymentMethod.of_user(user_id())
        return MethodList(items=[MethodView.model_validate(method) for method in methods])

    @endpoint(allow=auth.CUSTOMER, status=201, idempotency="optional", raises=[TooManyMethods])
    def post(self, body: NewMethod) -> MethodView:
        """Save a payment method. Saving the same token again changes its label."""
        return MethodView.model_validate(PaymentMethod.save(user_id(), body.token, body.label))


class OneMethod(Resource):
    @endpoint(allow=auth.OWNER, status=204)
    def delete(self, method_id: UUID) -> None:
        """Delete a payment method. Payments made with it stay."""
        PaymentMethod.visible_to(auth.caller(), method_id).delete()
