"""How well a product matches a query.

Scores depend on nothing else, so pages stay stable.
"""

from dataclasses import dataclass

from services.products.search.query import Term, TextQuery

NAME, CATEGORY, DESCRIPTION = 1.0, 0.7, 0.3

SCALE = 10_000
"""Integer scores survive a cursor exactly."""


@dataclass(frozen=True)
class Texts:
    """Normalized words, with a blank at both ends of each text."""

    name: str
    category: str
    """With its SKU's words."""
    description: str

    def words(self) -> list[str]:
        return f"{self.name}{self.category}{self.description}".split()


def texts(name: list[str], category: list[str], description: list[str]) -> Texts:
    return Texts(*(f" {' '.join(each)} " for each in (name, category, description)))


def score(query: TextQuery, product: Texts) -> int:
    worths = [_worth(term, product) for term in query.terms]
    total = sum(term.weight for term in query.terms)
    if not any(worths) or not total:
        return 0
    found = sum(worth * term.weight for worth, term in zip(worths, query.terms, strict=True)) / total
    matched = sum(1 for worth in worths if worth) / len(worths)
    return round(SCALE * (matched**2 * found + 0.25 * matched * _aptness(query, product)))


def _worth(term: Term, product: Texts) -> float:
    best = 0.0
    for word, certainty in term.words:
        padded = f" {word} "
        if padded in product.name:
            best = max(best, certainty * NAME)
        elif padded in product.category:
            best = max(best, certainty * CATEGORY)
        elif padded in product.description:
            best = max(best, certainty * DESCRIPTION)
    return best


def _aptness(query: TextQuery, product: Texts) -> float:
    """Share of the name's words found, more for a phrase."""
    name = product.name.split()
    meant = {term.words[0][0] for term in query.terms}
    share = sum(1 for word in name if word in meant) / len(name) if name else 0.0
    phrase = " ".join(term.words[0][0] for term in query.terms)
    return share + (0.5 if f" {phrase} " in product.name else 0.0)
