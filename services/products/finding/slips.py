"""Words that a slip of the finger turns into one another."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

MAX = 2
COMPARED = 7
"""Letters of a word's beginning that its keys are made of: fewer keys, and more words that share one."""


def allowed(word: str) -> int:
    """How many slips (a letter more, less, other, or two exchanged) a word of this length may hold."""
    return 0 if len(word) < 4 else 1 if len(word) < 8 else MAX


def keys(word: str) -> set[str]:
    """What a word of the catalogue is found by: it shares a key with whatever slips may have made of it.

    None for numbers: those of SKUs are as many as products, and one digit more or less is another number.
    """
    # A slip may have made it longer, and so long that more of them are allowed.
    return _shortened(word, allowed(word + MAX * "_")) if word.isalpha() else set()


def typed_keys(typed: str) -> set[str]:
    return _shortened(typed, allowed(typed)) if typed.isalpha() else set()


def _shortened(word: str, slips: int) -> set[str]:
    """The beginning of the word without up to so many of its letters.

    Source: Garbe, "1000x Faster Spelling Correction algorithm", 2012 (symmetric delete), with the beginning alone.
    """
    if not slips:
        return set()
    beginning = word[:COMPARED]
    kept = range(max(len(beginning) - slips, 1), len(beginning) + 1)
    return {"".join(letters) for count in kept for letters in combinations(beginning, count)}


def likeliest(typed: str, known: Iterable[tuple[Any, ...]], most: int) -> list[str]:
    """Of the `known` (word, how many products have it), those within the slips allowed: fewest slips first, then the commonest.

    A first letter is seldom wrong, so that a word that keeps it comes before one that does not.
    """
    # A process that nobody misspells anything to does not pay for it.
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    products = {str(word): int(count) for word, count in known}
    found = process.extract(
        typed, list(products), scorer=OSA.distance, score_cutoff=allowed(typed), limit=most * 4, processor=None
    )
    ordered = sorted((slips, word[:1] != typed[:1], -products[word], word) for word, slips, _ in found if slips)
    return [word for *_, word in ordered[:most]]
