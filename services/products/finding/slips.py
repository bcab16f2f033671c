"""Words that a slip of the finger turns into one another."""

from collections.abc import Iterable
from typing import Any

from rapidfuzz import process
from rapidfuzz.distance import OSA


def allowed(word: str) -> int:
    """How many slips (a letter more, less, other, or two exchanged) a word of this length may hold."""
    return 0 if len(word) < 4 else 1 if len(word) < 8 else 2


def likeliest(typed: str, known: Iterable[tuple[Any, ...]], most: int) -> list[str]:
    """Of the `known` (word, how many products have it), those within the slips allowed: fewest slips first, then the commonest.

    A first letter is seldom wrong, so that a word that keeps it comes before one that does not.
    """
    products = {str(word): int(count) for word, count in known}
    found = process.extract(
        typed, list(products), scorer=OSA.distance, score_cutoff=allowed(typed), limit=most * 4, processor=None
    )
    ordered = sorted((slips, word[:1] != typed[:1], -products[word], word) for word, slips, _ in found if slips)
    return [word for *_, word in ordered[:most]]
