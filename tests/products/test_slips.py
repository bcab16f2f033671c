"""A word with slips in it leads to every word that it may have been, and to few others."""

from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rapidfuzz.distance import OSA

from services.products.finding import slips

LETTERS = "abcdeé"
word = st.text(LETTERS, min_size=3, max_size=14)


def slipped(original: str, dice: Random) -> str:
    """The word after one slip."""
    place, letter = dice.randrange(len(original)), dice.choice(LETTERS)
    before, at, after = original[:place], original[place], original[place + 1 :]
    return dice.choice(
        [before + letter + at + after, before + after, before + letter + after, before + after[:1] + at + after[1:]]
    )


@given(word, st.randoms(use_true_random=False), st.integers(1, 2))
def test_a_word_is_found_by_whatever_slips_made_of_it(known, dice, count):
    typed = known
    for _ in range(count):
        typed = slipped(typed, dice)
    assume(0 < OSA.distance(typed, known) <= slips.allowed(typed))
    assert slips.keys(known) & slips.typed_keys(typed)


@pytest.mark.parametrize("number", ["1234567", "b12345"])
def test_numbers_are_not_guessed_at(number):
    assert slips.keys(number) == slips.typed_keys(number) == set()


def test_a_long_word_has_no_more_keys_than_a_short_one():
    assert len(slips.keys("abcdefgh")) == len(slips.keys("abcdefghijklmnopqrstuvwx")) == 29


def test_fewest_slips_come_first_and_then_the_commonest():
    known = [("kettle", 2), ("nettle", 9), ("settles", 9), ("mettle", 20)]
    assert slips.likeliest("kettla", known, 3) == ["kettle"]
    assert slips.likeliest("ettle", known, 3) == ["mettle", "nettle", "kettle"]
