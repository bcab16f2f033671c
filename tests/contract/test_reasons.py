"""The table of reasons: complete, and discreet about what only staff may know."""

import pytest

from contracts.reasons import LANGUAGES, Audience, Reader, Reason
from services.notifications import content
from tests.reasons import READERS, REASONS, hidden

DECLINED = {Reason.STOLEN_CARD, Reason.LOST_CARD, Reason.FRAUD_SUSPECTED}


def test_reasons_are_written_in_every_language_that_customers_are_written_to_in() -> None:
    assert set(LANGUAGES) == set(content.LANGUAGES)


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize(("audience", "language"), READERS)
def test_every_reason_has_a_sentence_for_everyone(reason: Reason, audience: Audience, language: str) -> None:
    words = reason.text(audience, language)
    assert words[0].isupper()
    assert words.endswith(".")


@pytest.mark.parametrize("reason", sorted(DECLINED))
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_customer_reads_of_a_stolen_card_or_fraud_only_that_it_was_declined(reason: Reason, language: str) -> None:
    customer = Reader(Audience.CUSTOMER, language)
    assert (customer.code(reason), customer.text(reason)) == ("declined", customer.text("declined"))
    assert Reader(Audience.STAFF).code(reason) == reason
    assert hidden(reason)


def test_a_code_that_only_a_newer_release_knows_is_read_as_another_reason() -> None:
    assert Reason("unheard_of") is Reason.OTHER
    assert Reader(Audience.STAFF).code("unheard_of") == "unheard_of"
    assert Reader(Audience.CUSTOMER).code("unheard_of") == "other"
