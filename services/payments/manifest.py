from contracts.manifest import Manifest

manifest = Manifest(
    has_celery=True,
    settings={
        "SOUK_SANDBOX_URL": "http://127.0.0.1:{port[bank]}",
        "SOUK_SANDBOX_KEY": "{secret[sandbox-key]}",
        "SOUK_SANDBOX_WEBHOOK_SECRET": "{secret[sandbox-webhook-secret]}",
    },
)
