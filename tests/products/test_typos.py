"""A misspelt word leads to every word that may be meant, and to few others."""

from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rapidfuzz.distance import OSA

from services.products.search import typos

LETTERS = "abcdeé"
word = st.text(LETTERS, min_size=3, max_size=14)


def misspelt(original: str, dice: Random) -> str:
    """The word with one typo."""
    place, letter = dice.randrange(len(original)), dice.choice(LETTERS)
    before, at, after = original[:place], original[place], original[place + 1 :]
    return dice.choice(
        [before + letter + at + after, before + after, before + letter + after, before + after[:1] + at + after[1:]]
    )


@given(word, st.randoms(use_true_random=False), st.integers(1, 2))
def test_a_word_shares_a_key_with_its_misspellings(known, dice, count):
    typed = known
    for _ in range(count):
        typed = misspelt(typed, dice)
    assume(0 < OSA.distance(typed, known) <= typos.max_typos(typed))
    assert typos.index_keys(known) & typos.lookup_keys(typed)


@pytest.mark.parametrize("number", ["1234567", "b12345"])
def test_numbers_have_no_keys(number):
    assert typos.index_keys(number) == typos.lookup_keys(number) == set()


def test_a_long_word_has_no_more_keys_than_a_short_one():
    assert len(typos.index_keys("abcdefgh")) == len(typos.index_keys("abcdefghijklmnopqrstuvwx")) == 29


def test_fewest_typos_come_first_and_then_the_most_frequent():
    known = [("kettle", 2), ("nettle", 9), ("settles", 9), ("mettle", 20)]
    assert typos.closest("kettla", known, 3) == ["kettle"]
    assert typos.closest("ettle", known, 3) == ["mettle", "nettle", "kettle"]
