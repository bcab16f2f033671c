from contracts.manifest import Manifest

manifest = Manifest(store="mongo", called_by=["orders"], settings={"SOUK_SEARCH_DIRECTORY": "{data}/search"})
