"""The bank's tokens, which stand for cards and decide how a charge ends."""

SUCCESS = "tok_success"

PENDING = "tok_pending"
"""Waits for the customer to confirm or refuse on the bank's page, as with 3-D Secure; a webhook reports it."""

SLOW = "tok_slow"
"""Makes the charge at once and responds late."""

LOST = "tok_lost_response"
"""Makes charges and refunds, and responds with an error each time."""

ERROR = "tok_error"
"""Responds with an error each time and charges nothing."""

CAPTURE_REFUSED = "tok_capture_refused"
CAPTURE_ERROR = "tok_capture_error"
REFUND_REFUSED = "tok_refund_refused"
"""Authorizes, and then refuses, or responds with an error each time."""

DUPLICATE_WEBHOOK = "tok_duplicate_webhook"
"""As tok_success; each of its webhooks comes twice."""

OUT_OF_ORDER_WEBHOOK = "tok_out_of_order_webhook"
"""As tok_success; its second webhook comes before its first."""

REASONS = (
    "expired_card",
    "fraud_suspected",
    "incorrect_cvc",
    "insufficient_funds",
    "limit_exceeded",
    "lost_card",
    "stolen_card",
)
DECLINES = {f"tok_declined_{reason}": reason for reason in REASONS}

WITH_WEBHOOKS = {PENDING, SLOW, LOST, DUPLICATE_WEBHOOK, OUT_OF_ORDER_WEBHOOK}
"""Sources that send webhooks. For the others a webhook would only repeat the response."""

TOKENS = {SUCCESS, ERROR, CAPTURE_REFUSED, CAPTURE_ERROR, REFUND_REFUSED, *WITH_WEBHOOKS, *DECLINES}
