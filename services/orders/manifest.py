from contracts.manifest import Manifest

manifest = Manifest(optional=["SOUK_REPLY_GRACE_SECONDS"])
