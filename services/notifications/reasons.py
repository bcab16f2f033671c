"""Why an order was cancelled, in words for its customer: services give a code or a sentence."""

import re

# Who tried a stolen card is not told that it is known.
_DECLINED = {"declined", "stolen_card", "lost_card"}

_WORDS = {
    "en": {
        "insufficient_funds": "Your bank declined the payment because the account does not hold enough money.",
        "expired_card": "Your bank declined the payment because the card has expired.",
        "out_of_stock": "Something you ordered is out of stock.",
        "declined": "Your bank declined the payment. It can tell you why.",
    },
    "de": {
        "insufficient_funds": "Deine Bank hat die Zahlung abgelehnt, weil das Konto nicht gedeckt ist.",
        "expired_card": "Deine Bank hat die Zahlung abgelehnt, weil die Karte abgelaufen ist.",
        "out_of_stock": "Etwas aus deiner Bestellung ist nicht mehr vorrätig.",
        "declined": "Deine Bank hat die Zahlung abgelehnt. Den Grund erfährst du von ihr.",
    },
}

_CODE = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")


def in_words(reason: str, language: str = "en") -> str:
    """A sentence that ends in a full stop; a reason that we do not know stays in the language in which it came."""
    known = _WORDS[language].get("declined" if reason in _DECLINED else reason)
    if known is not None:
        return known
    words = " ".join(reason.split())
    if _CODE.fullmatch(words):
        words = words.replace("_", " ").capitalize()
    return words if words.endswith((".", "!", "?")) else f"{words}."
