from contracts.manifest import Manifest

manifest = Manifest(
    handles=[
        "order.confirmed",
        "stock.commit",
        "stock.release",
        "stock.reserve",
        "stock.restock",
        "user.deleted",
    ],
    publishes=[
        "stock.committed",
        "stock.low",
        "stock.refused",
        "stock.released",
        "stock.reserved",
        "stock.restocked",
    ],
    store="mongo",
    caches=["web", "worker"],
    settings={"SOUK_SEARCH_DIRECTORY": "{data}/search"},
)
