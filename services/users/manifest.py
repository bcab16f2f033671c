from contracts.manifest import Manifest

manifest = Manifest(
    publishes=[
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
    redis={
        "web": "~souk:users:throttle:* +get +set +del +pttl +rename +incrby +evalsha +script|load",
        "worker": "~souk:revoked:* ~souk:revoked-until +get +set",
    },
    settings={"SOUK_REQUEST_SECRET": "{secret[users-requests]}"},
)
