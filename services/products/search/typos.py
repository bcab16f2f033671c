"""Typo matching."""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

MAX_TYPOS = 2
PREFIX_LENGTH = 7


def max_typos(word: str) -> int:
    return 0 if len(word) < 4 else 1 if len(word) < 8 else MAX_TYPOS


def index_keys(word: str) -> set[str]:
    """Keys shared with misspellings.

    None for numbers: another digit is another SKU.
    """
    # Longer misspellings may contain more typos.
    return _deletions(word, max_typos(word + MAX_TYPOS * "_")) if word.isalpha() else set()


def lookup_keys(typed: str) -> set[str]:
    return _deletions(typed, max_typos(typed)) if typed.isalpha() else set()


def _deletions(word: str, typos: int) -> set[str]:
    """The word's prefix with up to `typos` letters deleted.

    Source: Garbe, "1000x Faster Spelling Correction algorithm", 2012 (symmetric delete), here on the prefix only.
    """
    if not typos:
        return set()
    prefix = word[:PREFIX_LENGTH]
    lengths = range(max(len(prefix) - typos, 1), len(prefix) + 1)
    return {"".join(letters) for length in lengths for letters in combinations(prefix, length)}


def closest(typed: str, candidates: Iterable[tuple[Any, ...]], limit: int) -> list[str]:
    """From (word, product count): fewest typos, then same first letter, then most products."""
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    products = {str(word): int(count) for word, count in candidates}
    found = process.extract(
        typed, list(products), scorer=OSA.distance, score_cutoff=max_typos(typed), limit=limit * 4, processor=None
    )
    ordered = sorted((typos, word[:1] != typed[:1], -products[word], word) for word, typos, _ in found if typos)
    return [word for *_, word in ordered[:limit]]
