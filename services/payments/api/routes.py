"""Every URL of the payments service."""

from services.payments.api.methods import Methods, OneMethod
from services.payments.api.payments import Capture, Ledger, OnePayment, Process, UserPayments, Void
from services.payments.api.refunds import Refunds, RefundsOfPayment
from services.payments.api.webhooks import Webhooks

ROUTES = {
    "/payments/process": Process,
    "/payments/refund": Refunds,
    "/payments/<uuid:payment_id>": OnePayment,
    "/payments/<uuid:payment_id>/capture": Capture,
    "/payments/<uuid:payment_id>/void": Void,
    "/payments/<uuid:payment_id>/refunds": RefundsOfPayment,
    "/payments/<uuid:payment_id>/ledger": Ledger,
    "/payments/user/<uuid:user_id>": UserPayments,
    "/payments/methods": Methods,
    "/payments/methods/<uuid:method_id>": OneMethod,
    "/payments/webhooks/<string:provider>": Webhooks,
}
