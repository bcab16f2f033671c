from contracts.manifest import Manifest

manifest = Manifest()
