"""A payment takes its steps in turn, whoever asks for another."""

import pytest

from services.payments.models import Payment, Status
from services.payments.models.status import OutOfTurn

ENDS = [Status.CAPTURED, Status.DECLINED, Status.VOIDED, Status.FAILED]


@pytest.mark.parametrize(
    ("status", "following"),
    [
        *[(end, status) for end in ENDS for status in Status],
        *[(status, Status.PENDING) for status in Status],
        (Status.PENDING, Status.FAILED),
        (Status.AUTHORIZED, Status.AUTHORIZED),
        (Status.AUTHORIZED, Status.DECLINED),
    ],
)
def test_a_step_out_of_turn_is_refused_and_changes_nothing(status, following):
    payment = Payment(status=status, goal=Status.CAPTURED)
    with pytest.raises(OutOfTurn) as refusal:
        payment.become(following)
    assert (payment.status, refusal.value.extensions) == (status, {"current": status})
