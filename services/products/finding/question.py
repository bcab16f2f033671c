"""What a typed text asks for: for each of its words, the words of the catalogue that may be meant, and how surely.

A question is made once, for the first page, and travels in the cursor: later pages are of the same question, whatever
has been written into the catalogue meanwhile.
"""

import json
from dataclasses import dataclass
from typing import Protocol

from services.products.finding.words import COMMON, MAX_LENGTH, distinct

MAX_WORDS = 6
MAX_ALTERNATIVES = 24
"""Of all words together, so that a cursor fits into a URL."""

MAX_PER_PRODUCT = 8

NOTHING = "0"
"""What a text without any word asks for."""

EXACT, COMPLETED, CORRECTED = 1.0, 0.6, 0.5
"""How sure it is that a word is meant: that which was typed, one that begins so, one that differs by a slip."""


class Vocabulary(Protocol):
    """The words of the catalogue."""

    def commonness(self, word: str) -> float:
        """The share of products with this word, 0 for one that is unknown."""
        ...

    def completions(self, beginning: str, most: int) -> list[str]:
        """Longer words that begin so, the commonest first."""
        ...

    def similar(self, word: str, most: int) -> list[str]:
        """Words that a slip or two may have turned into `word`, the likeliest first."""
        ...


@dataclass(frozen=True)
class Wanted:
    """One typed word: `alternatives` are what it may mean, with how surely; `weight` is what finding it is worth."""

    alternatives: tuple[tuple[str, float], ...]
    weight: float


@dataclass(frozen=True)
class Question:
    wanted: tuple[Wanted, ...]

    @property
    def corrected(self) -> str | None:
        """The text with its slips mended; None when there was none."""
        best = [each.alternatives[0] for each in self.wanted]
        return " ".join(word for word, _ in best) if any(sure == CORRECTED for _, sure in best) else None

    def to_text(self) -> str:
        listed = [[each.weight, each.alternatives] for each in self.wanted]
        return json.dumps(listed, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> "Question":
        """The question that `to_text` wrote. Raises ValueError for anything else: it comes from a client's cursor."""
        try:
            wanted = tuple(
                Wanted(tuple((_word(word), _share(sure)) for word, sure in alternatives), _share(weight))
                for weight, alternatives in json.loads(text)
            )
        except (TypeError, RecursionError) as error:
            raise ValueError("not a question") from error
        if not 0 < len(wanted) <= MAX_WORDS or not all(
            0 < len(each.alternatives) <= MAX_PER_PRODUCT for each in wanted
        ):
            raise ValueError("not a question")
        return cls(wanted)


def _word(value: object) -> str:
    if isinstance(value, str) and value.isalnum() and len(value) <= MAX_LENGTH:
        return value
    raise ValueError("not a word")


def _share(value: object) -> float:
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise ValueError("not a share")


def understand(text: str, vocabulary: Vocabulary) -> Question:
    """What `text` asks for, in words of the catalogue; a word that nothing resembles asks for itself, and finds nothing."""
    typed = distinct(text)
    telling = [word for word in typed if word not in COMMON] or typed or [NOTHING]
    telling = telling[:MAX_WORDS]
    most = min(MAX_PER_PRODUCT, MAX_ALTERNATIVES // len(telling))
    return Question(tuple(_wanted(word, vocabulary, most) for word in telling))


def _wanted(typed: str, vocabulary: Vocabulary, most: int) -> Wanted:
    alternatives = [(typed, EXACT)] if vocabulary.commonness(typed) > 0 else []
    if len(typed) > 1:
        alternatives += [(word, COMPLETED) for word in vocabulary.completions(typed, most - len(alternatives))]
    if not alternatives:
        alternatives = [(word, CORRECTED) for word in vocabulary.similar(typed, most)]
    share = max((vocabulary.commonness(word) for word, _ in alternatives), default=0.0)
    # A word that most products have says little about which is meant.
    return Wanted(tuple(alternatives) or ((typed, EXACT),), round(max(0.1, 1.0 - share), 3))
