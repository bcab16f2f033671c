"""Why an order was cancelled, in words for its customer: services give a code or a sentence."""

import re

# Who tried a stolen card is not told that it is known.
DECLINED = "Your bank declined the payment. It can tell you why."

PLAIN = {
    "insufficient_funds": "Your bank declined the payment because the account does not hold enough money.",
    "expired_card": "Your bank declined the payment because the card has expired.",
    "out_of_stock": "Something you ordered is out of stock.",
    "stolen_card": DECLINED,
    "lost_card": DECLINED,
    "declined": DECLINED,
}

_CODE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")


def in_words(reason: str) -> str:
    """A sentence that ends in a full stop."""
    if reason in PLAIN:
        return PLAIN[reason]
    words = " ".join(reason.split())
    if _CODE.fullmatch(words):
        words = words.replace("_", " ").capitalize()
    return words if words.endswith((".", "!", "?")) else f"{words}."
