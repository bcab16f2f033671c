"""Order events in plain words."""

from chassis.messaging.message import Message
from contracts import money

WORDS = {
    "order.placed": "Order placed for {amount}.",
    "stock.reserve": "Reserving the items.",
    "stock.reserved": "Items reserved.",
    "stock.refused": "The items are not available.",
    "payment.authorize": "Requesting approval for {amount} from the bank.",
    "payment.authorized": "Payment approved by the bank.",
    "payment.declined": "Payment declined by the bank.",
    "order.confirmed": "Order confirmed.",
    "stock.commit": "Preparing the items for shipment.",
    "stock.committed": "Items set aside for this order.",
    "payment.capture": "Collecting the payment.",
    "payment.captured": "{amount} paid.",
    "payment.capture_refused": "The payment could not be collected.",
    "order.shipped": "Order shipped.",
    "order.delivered": "Order delivered.",
    "order.cancelled": "Order cancelled.",
    "stock.release": "Releasing the reserved items.",
    "stock.released": "Reserved items released.",
    "stock.restock": "Returning the items to the warehouse.",
    "stock.restocked": "Items back in the warehouse.",
    "payment.void": "Cancelling the payment.",
    "payment.voided": "Payment cancelled.",
    "payment.refund": "Requesting a refund of {amount} from the bank.",
    "payment.refunded": "{amount} refunded.",
    "payment.moved_externally": "The bank reported a change of the payment.",
    "payment.refund_refused": "The refund was refused by the bank.",
    "order.refunded": "Customer notified of the refund.",
    "order.stuck": "This is taking longer than usual. Our team is looking into it.",
    "order.settled_externally": "{amount} refunded by other means.",
    "order.shortfall_accepted": "Our team has released the order for shipment.",
    "order.refund_returned": "The bank returned {amount} that had been refunded.",
    "order.resumed": "Our team has resumed processing the order.",
}


def summary(message: Message, currency: str) -> str:
    amount = getattr(message, "amount", None)
    return WORDS[message.type].format(amount=amount is not None and money.text(amount, currency))
