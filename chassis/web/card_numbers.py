"""Card numbers, which have no business here: how one is told in a text, so that it is refused and kept nowhere."""

import re

_PERHAPS = re.compile(r"(?<![\d+])[2-6](?:[ .\-_/]?\d){12,18}(?!\d)")
"""13 to 19 digits of which the first is a card network's (ISO/IEC 7812), also in the groups that people write; a telephone
number begins with a plus."""


def has_number(text: str) -> bool:
    """Whether something in the text looks like a card number: its length, and a check digit that is right."""
    return any(_is_valid(found.group()) for found in _PERHAPS.finditer(text))


def without_numbers(text: str) -> str:
    """The text with what looks like a card number taken out."""
    return _PERHAPS.sub(lambda found: "[card number]" if _is_valid(found.group()) else found.group(), text)


def _is_valid(text: str) -> bool:
    """Luhn's check. A run of other digits passes it once in ten times, which a refusal can be worth."""
    digits = [int(character) for character in text if character.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
