"""How well a product answers a question: a number that depends on the question and the product, and on nothing else.

Because no other product counts, a product keeps its place among the pages while others come, change and go.
"""

from dataclasses import dataclass

from services.products.finding.question import Question, Wanted

NAME, CATEGORY, DESCRIPTION = 1.0, 0.7, 0.3
"""What a word is worth by where it stands."""

SCALE = 10_000
"""Scores are whole numbers, so that one read back from a cursor is the same."""


@dataclass(frozen=True)
class Texts:
    """A product's words as search compares them, each text with a blank at both ends."""

    name: str
    category: str
    """Its SKU's words too."""
    description: str

    def words(self) -> list[str]:
        return f"{self.name}{self.category}{self.description}".split()


def texts(name: list[str], category: list[str], description: list[str]) -> Texts:
    return Texts(*(f" {' '.join(each)} " for each in (name, category, description)))


def score(question: Question, product: Texts) -> int:
    """0 when nothing of the question is there."""
    worths = [_worth(wanted, product) for wanted in question.wanted]
    total = sum(wanted.weight for wanted in question.wanted)
    if not any(worths) or not total:
        return 0
    found = sum(worth * wanted.weight for worth, wanted in zip(worths, question.wanted, strict=True)) / total
    present = sum(1 for worth in worths if worth) / len(worths)
    # A product with all of the words comes before any that lacks one.
    return round(SCALE * (present**2 * found + 0.25 * present * _aptness(question, product)))


def _worth(wanted: Wanted, product: Texts) -> float:
    best = 0.0
    for word, sure in wanted.alternatives:
        padded = f" {word} "
        if padded in product.name:
            best = max(best, sure * NAME)
        elif padded in product.category:
            best = max(best, sure * CATEGORY)
        elif padded in product.description:
            best = max(best, sure * DESCRIPTION)
    return best


def _aptness(question: Question, product: Texts) -> float:
    """How much the name is about the question: the share of its words that were asked for, and whether they stand together."""
    name = product.name.split()
    meant = {word for wanted in question.wanted for word, _ in wanted.alternatives[:1]}
    share = sum(1 for word in name if word in meant) / len(name) if name else 0.0
    phrase = " ".join(wanted.alternatives[0][0] for wanted in question.wanted)
    return share + (0.5 if f" {phrase} " in product.name else 0.0)
