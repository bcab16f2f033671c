"""The bank's tokens: what stands for a card, and decides how it all ends."""

SUCCESS = "tok_success"

PENDING = "tok_pending"
"""Waits until the customer has confirmed (or refused) on the bank's page, as with 3-D Secure; a webhook tells."""

SLOW = "tok_slow"
"""Makes the charge at once and answers late."""

LOST = "tok_lost_answer"
"""Charges and refunds are made, and the bank fails to say so, each time."""

ERROR = "tok_error"
"""Fails every time and charges nothing."""

CAPTURE_REFUSED = "tok_capture_refused"
CAPTURE_ERROR = "tok_capture_error"
REFUND_REFUSED = "tok_refund_refused"
"""Authorized as any other, and then refused, or failed every time."""

DUPLICATE_WEBHOOK = "tok_duplicate_webhook"
"""As tok_success, and each of its webhooks comes twice."""

OUT_OF_ORDER_WEBHOOK = "tok_out_of_order_webhook"
"""As tok_success, and the webhook of the first thing that happened comes after that of the second."""

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

TOLD = {PENDING, SLOW, LOST, DUPLICATE_WEBHOOK, OUT_OF_ORDER_WEBHOOK}
"""Whose charges are told of by webhooks. Of the others the answers say all there is, and a webhook would only repeat them."""

TOKENS = {SUCCESS, ERROR, CAPTURE_REFUSED, CAPTURE_ERROR, REFUND_REFUSED, *TOLD, *DECLINES}
