"""Source tokens, which decide how a charge ends."""

SUCCESS = "tok_success"

PENDING = "tok_pending"
"""Waits for the customer's confirmation; a webhook reports it."""

SLOW = "tok_slow"
"""Charges at once, responds late."""

LOST = "tok_lost_response"
"""Charges or refunds, but always responds with an error."""

ERROR = "tok_error"
"""Always responds with an error, without charging."""

CAPTURE_REFUSED = "tok_capture_refused"
CAPTURE_ERROR = "tok_capture_error"
REFUND_REFUSED = "tok_refund_refused"
"""Refuses after authorization, or always responds with an error."""

DUPLICATE_WEBHOOK = "tok_duplicate_webhook"
"""Each webhook comes twice."""

OUT_OF_ORDER_WEBHOOK = "tok_out_of_order_webhook"
"""The second webhook comes first."""

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
"""For the others, the response says it all."""

TOKENS = {SUCCESS, ERROR, CAPTURE_REFUSED, CAPTURE_ERROR, REFUND_REFUSED, *WITH_WEBHOOKS, *DECLINES}
