"""/payments/methods: the payment methods that a user keeps. A provider's page makes the token; no card number comes by here."""

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
        """One's own payment methods, newest first."""
        methods = PaymentMethod.of_user(user_id())
        return MethodList(items=[MethodView.model_validate(method) for method in methods])

    @endpoint(allow=auth.CUSTOMER, status=201, idempotency="optional", raises=[TooManyMethods])
    def post(self, body: NewMethod) -> MethodView:
        """Keep a payment method; the same token again only changes its label."""
        return MethodView.model_validate(PaymentMethod.keep(user_id(), body.token, body.label))


class OneMethod(Resource):
    @endpoint(allow=auth.OWNER, status=204)
    def delete(self, method_id: UUID) -> None:
        """Forget a payment method. What was paid with it stays."""
        PaymentMethod.visible_to(auth.caller(), method_id).forget()
