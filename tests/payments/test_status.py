"""Transitions between the statuses of a payment."""

import pytest

from services.payments.models import Payment, Status
from services.payments.models.status import NEXT, InvalidTransition

FORBIDDEN = [(status, following) for status in Status for following in Status if following not in NEXT.get(status, ())]


@pytest.mark.parametrize(("status", "following"), FORBIDDEN)
def test_an_invalid_transition_is_refused_and_changes_nothing(status, following):
    payment = Payment(status=status, goal=Status.CAPTURED)
    with pytest.raises(InvalidTransition) as refusal:
        payment.transition_to(following)
    assert (payment.status, refusal.value.extensions) == (status, {"current": status})


@pytest.mark.parametrize("end", [Status.DECLINED, Status.VOIDED, Status.REFUNDED])
def test_final_statuses_have_no_transitions(end):
    assert [status for status, following in FORBIDDEN if status == end] == [end] * len(Status)
