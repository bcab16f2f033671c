"""Why an order was cancelled is said in words, whatever form the reason came in."""

import pytest

from services.notifications.reasons import in_words


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("out_of_stock", "Something you ordered is out of stock."),
        ("a_code_that_is_new", "A code that is new."),
        ("Payment took too long", "Payment took too long."),
        ("The shop\nis closed!", "The shop is closed!"),
    ],
)
def test_a_code_becomes_a_sentence_and_a_sentence_stays_one(reason, words):
    assert in_words(reason) == words


@pytest.mark.parametrize("reason", ["stolen_card", "lost_card"])
def test_who_tried_a_stolen_card_is_not_told_that_it_is_known(reason):
    assert in_words(reason) == in_words("declined")


def test_a_german_customer_reads_why_in_german():
    assert in_words("out_of_stock", "de") == "Etwas aus deiner Bestellung ist nicht mehr vorrätig."
    assert in_words("Cancelled by the shop.", "de") == "Cancelled by the shop."
