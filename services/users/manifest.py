from contracts.manifest import Manifest

manifest = Manifest(called_by=["notifications"], settings={"SOUK_REQUEST_SECRET": "{secret[users-requests]}"})
