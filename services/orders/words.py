"""An order's events in words that its customer understands."""

from chassis.messaging.message import Message
from contracts import money

WORDS = {
    "order.placed": "The order was placed for {amount}.",
    "stock.reserve": "The warehouse was asked to keep the goods back.",
    "stock.reserved": "The goods are kept back.",
    "stock.refused": "The goods cannot be had.",
    "payment.authorize": "The bank was asked for {amount}.",
    "payment.authorized": "The bank agreed to the payment.",
    "payment.declined": "The bank declined the payment.",
    "order.confirmed": "The order is confirmed.",
    "stock.commit": "The warehouse was asked to set the goods aside.",
    "stock.committed": "The goods are set aside for this order.",
    "payment.capture": "The payment is being collected.",
    "payment.captured": "{amount} were paid.",
    "payment.capture_refused": "The payment could not be collected.",
    "order.shipped": "The goods are on their way.",
    "order.delivered": "The goods have arrived.",
    "order.cancelled": "The order was cancelled.",
    "stock.release": "The warehouse was told to keep nothing back any more.",
    "stock.released": "Nothing is kept back any more.",
    "stock.restock": "The warehouse was asked to put the goods back.",
    "stock.restocked": "The goods are back in the warehouse.",
    "payment.void": "The bank was told that nothing is to be paid.",
    "payment.voided": "Nothing has to be paid.",
    "payment.refund": "The bank was asked to send {amount} back.",
    "payment.refunded": "{amount} were sent back.",
    "payment.refund_refused": "The bank did not send the money back.",
    "order.refunded": "The customer was told of the refund.",
    "order.stuck": "This takes longer than it should. Our staff looks after it.",
    "order.resumed": "Our staff took the order up again.",
}


def told(message: Message, currency: str) -> str:
    """What happened, in a sentence."""
    amount = getattr(message, "amount", None)
    return WORDS[message.type].format(amount=amount is not None and money.text(amount, currency))
