"""Interprets a typed text in the catalogue's words.

The parsed query travels in the cursor, so later pages answer the same one.
"""

import json
from dataclasses import dataclass
from typing import Protocol

from services.products.search.words import MAX_LENGTH, STOP_WORDS, distinct

MAX_TERMS = 6
MAX_WORDS = 24
"""Over all terms, so a cursor fits into a URL."""

MAX_WORDS_PER_TERM = 8

NO_WORD = "0"

EXACT, COMPLETED, CORRECTED = 1.0, 0.6, 0.5


class Vocabulary(Protocol):
    def share(self, word: str) -> float: ...

    def completions(self, prefix: str, limit: int) -> list[str]:
        """Most frequent first."""
        ...

    def similar(self, word: str, limit: int) -> list[str]:
        """Likeliest first."""
        ...


@dataclass(frozen=True)
class Term:
    words: tuple[tuple[str, float], ...]
    weight: float


@dataclass(frozen=True)
class TextQuery:
    terms: tuple[Term, ...]

    @property
    def corrected(self) -> str | None:
        best = [term.words[0] for term in self.terms]
        return " ".join(word for word, _ in best) if any(certainty == CORRECTED for _, certainty in best) else None

    def to_text(self) -> str:
        listed = [[term.weight, term.words] for term in self.terms]
        return json.dumps(listed, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> "TextQuery":
        """Raises ValueError: cursors come from clients."""
        try:
            terms = tuple(
                Term(tuple((_word(word), _fraction(certainty)) for word, certainty in words), _fraction(weight))
                for weight, words in json.loads(text)
            )
        except (TypeError, RecursionError) as error:
            raise ValueError("not a query") from error
        if not 0 < len(terms) <= MAX_TERMS or not all(0 < len(term.words) <= MAX_WORDS_PER_TERM for term in terms):
            raise ValueError("not a query")
        return cls(terms)


def _word(value: object) -> str:
    if isinstance(value, str) and value.isalnum() and len(value) <= MAX_LENGTH:
        return value
    raise ValueError("not a word")


def _fraction(value: object) -> float:
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise ValueError("not a fraction")


def parse(text: str, vocabulary: Vocabulary) -> TextQuery:
    """Unknown words stand for themselves."""
    typed = distinct(text)
    significant = ([word for word in typed if word not in STOP_WORDS] or typed or [NO_WORD])[:MAX_TERMS]
    limit = min(MAX_WORDS_PER_TERM, MAX_WORDS // len(significant))
    return TextQuery(tuple(_term(word, vocabulary, limit) for word in significant))


def _term(typed: str, vocabulary: Vocabulary, limit: int) -> Term:
    words = [(typed, EXACT)] if vocabulary.share(typed) > 0 else []
    if len(typed) > 1:
        words += [(word, COMPLETED) for word in vocabulary.completions(typed, limit - len(words))]
    if not words:
        words = [(word, CORRECTED) for word in vocabulary.similar(typed, limit)]
    share = max((vocabulary.share(word) for word, _ in words), default=0.0)
    return Term(tuple(words) or ((typed, EXACT),), round(max(0.1, 1.0 - share), 3))
