"""Normalizes words: no case, accents or plural."""

import re
import unicodedata

MAX_LENGTH = 24

_WORD = re.compile(r"[^\W_]+")
_APOSTROPHES = str.maketrans("", "", "'\u2019\u02bc`")
_PLURALS = (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x"), ("zes", "z"), ("s", ""))

_STOP_WORDS = (
    "a an and are as at by do for from i in is it its my of on or over per some that the their them this to up with"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())


def words(text: str) -> list[str]:
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_APOSTROPHES))
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return [_singular(word[:MAX_LENGTH]) for word in _WORD.findall(plain)]


def _singular(word: str) -> str:
    """Strips an English plural ending.

    Source: Harman, "How Effective Is Suffixing?", JASIS 42(1), 1991 (S stemmer), extended to "dishes" etc.
    """
    if len(word) > 3 and not word.endswith(("us", "ss", "is", "eies", "aies")):
        for ending, replacement in _PLURALS:
            if word.endswith(ending):
                return word[: -len(ending)] + replacement
    return word


def distinct(text: str) -> list[str]:
    return list(dict.fromkeys(words(text)))
