"""Words as search compares them: without case, accents and plural, so that "Café Dishes" finds a "cafe dish"."""

import re
import unicodedata

MAX_LENGTH = 24
"""Letters of a word that are compared; the rest of a longer one is cut off."""

_WORD = re.compile(r"[^\W_]+")
_APOSTROPHES = str.maketrans("", "", "'\u2019\u02bc`")
_PLURALS = (("ies", "y"), ("ches", "ch"), ("shes", "sh"), ("sses", "ss"), ("xes", "x"), ("zes", "z"), ("s", ""))

_COMMON = (
    "a an and are as at by do for from i in is it its my of on or over per some that the their them this to up with"
)
COMMON = frozenset(_COMMON.split())
"""Words that say nothing of a product."""


def words(text: str) -> list[str]:
    """The words of `text` in their order, each in the form in which it is compared."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_APOSTROPHES))
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return [_singular(word[:MAX_LENGTH]) for word in _WORD.findall(plain)]


def _singular(word: str) -> str:
    """`word` without an English plural's ending.

    Source: Harman, "How Effective Is Suffixing?", JASIS 42(1), 1991 (the S stemmer), with "dishes" and its like as well.
    """
    if len(word) > 3 and not word.endswith(("us", "ss", "is", "eies", "aies")):
        for ending, instead in _PLURALS:
            if word.endswith(ending):
                return word[: -len(ending)] + instead
    return word


def distinct(text: str) -> list[str]:
    """Each word of `text` once, in the order of its first use."""
    return list(dict.fromkeys(words(text)))
