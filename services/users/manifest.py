from contracts.manifest import Manifest

manifest = Manifest(
    called_by=["notifications"],
    redis={
        "web": "~souk:users:throttle:* +get +set +del +pttl +rename +incrby +evalsha +script|load",
        "worker": "~souk:revoked:* ~souk:revoked-until +get +set",
    },
    settings={"SOUK_REQUEST_SECRET": "{secret[users-requests]}"},
)
