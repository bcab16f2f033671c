from contracts.manifest import Manifest

manifest = Manifest(handles=["review.created", "user.deleted"], publishes=["review.created"])
