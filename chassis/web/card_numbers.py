"""Recognizes card numbers in text."""

import re

_CANDIDATE = re.compile(r"(?<![\d+])[2-6](?:[ .\-_/]?\d){12,18}(?!\d)")
"""13 to 19 digits, maybe grouped (ISO/IEC 7812). A plus marks a telephone number."""


def has_number(text: str) -> bool:
    return any(_is_valid(found.group()) for found in _CANDIDATE.finditer(text))


def without_numbers(text: str) -> str:
    return _CANDIDATE.sub(lambda found: "[card number]" if _is_valid(found.group()) else found.group(), text)


def _is_valid(text: str) -> bool:
    """Luhn's check; one in ten other numbers passes."""
    digits = [int(character) for character in text if character.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
