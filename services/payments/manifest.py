from contracts.manifest import Manifest

manifest = Manifest(
    handles=[
        "order.settled_externally",
        "payment.authorize",
        "payment.capture",
        "payment.refund",
        "payment.void",
    ],
    publishes=[
        "payment.authorized",
        "payment.capture_refused",
        "payment.captured",
        "payment.declined",
        "payment.moved_externally",
        "payment.refund_refused",
        "payment.refunded",
        "payment.voided",
    ],
    has_celery=True,
    settings={
        "SOUK_SANDBOX_URL": "http://{address[bank]}",
        "SOUK_SANDBOX_KEY": "{secret[sandbox-key]}",
        "SOUK_SANDBOX_WEBHOOK_SECRET": "{secret[sandbox-webhook-secret]}",
    },
)
