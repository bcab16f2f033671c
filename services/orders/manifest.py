from contracts.manifest import Manifest

manifest = Manifest(
    handles=[
        "payment.authorized",
        "payment.capture_refused",
        "payment.captured",
        "payment.declined",
        "payment.moved_externally",
        "payment.refund_refused",
        "payment.refunded",
        "payment.voided",
        "stock.committed",
        "stock.refused",
        "stock.released",
        "stock.reserved",
        "stock.restocked",
    ],
    publishes=[
        "order.cancelled",
        "order.confirmed",
        "order.delivered",
        "order.refunded",
        "order.shipped",
        "payment.authorize",
        "payment.capture",
        "payment.refund",
        "payment.void",
        "stock.commit",
        "stock.release",
        "stock.reserve",
        "stock.restock",
    ],
)
