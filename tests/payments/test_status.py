"""A payment takes its steps in turn, whoever asks for another."""

import pytest

from services.payments.models import Payment, Status
from services.payments.models.status import NEXT, OutOfTurn

FORBIDDEN = [(status, following) for status in Status for following in Status if following not in NEXT.get(status, ())]


@pytest.mark.parametrize(("status", "following"), FORBIDDEN)
def test_a_step_out_of_turn_is_refused_and_changes_nothing(status, following):
    payment = Payment(status=status, goal=Status.CAPTURED)
    with pytest.raises(OutOfTurn) as refusal:
        payment.transition_to(following)
    assert (payment.status, refusal.value.extensions) == (status, {"current": status})


@pytest.mark.parametrize("end", [Status.DECLINED, Status.VOIDED, Status.REFUNDED])
def test_what_has_cost_nothing_in_the_end_stays_so(end):
    assert [status for status, following in FORBIDDEN if status == end] == [end] * len(Status)
