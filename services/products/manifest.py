from contracts.manifest import Manifest

manifest = Manifest(
    store="mongo",
    called_by=["orders"],
    caches=["web", "worker"],
    settings={"SOUK_SEARCH_DIRECTORY": "{data}/search"},
)
