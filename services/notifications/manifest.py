from contracts.manifest import Manifest

manifest = Manifest(
    handles=[
        "order.cancelled",
        "order.confirmed",
        "order.delivered",
        "order.refunded",
        "order.shipped",
        "stock.low",
        "user.deleted",
        "user.email_verification_requested",
        "user.email_verified",
        "user.password_changed",
        "user.password_reset_requested",
        "user.preferences_updated",
        "user.registered",
        "user.registration_repeated",
        "user.updated",
    ],
    has_celery=True,
    has_dead_rows=True,
    calls={"celery": ["users"]},
    settings={
        "SOUK_SMTP_URL": "smtp://{address[mailbox-smtp]}",
        "SOUK_SMS_URL": "sandbox://{address[mailbox-smtp]}",
        "SOUK_STAFF_ADDRESS": "staff@souk.example",
        "SOUK_PUBLIC_URL": "http://{address[gateway]}",
        "SOUK_LINK_KEY": "{secret[link-key]}",
        # Any 32 random bytes in base64url are a private key of P-256, except one in 2**32.
        "SOUK_VAPID_KEY": "{secret[vapid-key]}",
    },
)
