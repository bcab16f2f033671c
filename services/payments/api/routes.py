"""Every URL of the payments service."""

from services.payments.api.payments import OnePayment, Process, UserPayments

ROUTES = {
    "/payments/process": Process,
    "/payments/<uuid:payment_id>": OnePayment,
    "/payments/user/<uuid:user_id>": UserPayments,
}
