"""How people are found: names as they are compared in a search."""

import unicodedata

MAX_LENGTH = 200


def searchable(*names: str | None) -> str:
    """The names with one space between, in lower case and without accents: who seeks "emile" finds "Émile"."""
    text = unicodedata.normalize("NFKD", " ".join(name for name in names if name))
    plain = "".join(character for character in text if not unicodedata.combining(character))
    return " ".join(plain.casefold().split())[:MAX_LENGTH]
