from contracts.manifest import Manifest

manifest = Manifest(
    has_celery=True,
    settings={
        "SOUK_SMTP_URL": "smtp://127.0.0.1:{port[mailbox-smtp]}",
        "SOUK_SMS_URL": "sandbox://127.0.0.1:{port[mailbox-smtp]}",
        "SOUK_STAFF_ADDRESS": "staff@souk.example",
        "SOUK_PUBLIC_URL": "http://127.0.0.1:{port[gateway]}",
        "SOUK_LINK_KEY": "{secret[link-key]}",
        # Any 32 random bytes in base64url are a private key of P-256, except one in 2**32.
        "SOUK_VAPID_KEY": "{secret[vapid-key]}",
    },
)
