"""Which pods count."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operators.pods import OUT_OF_SERVICE, ended_since, is_out_of_service, unready_since
from operators.reconciler import time_of

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def pod(
    created: datetime = NOW - 5 * MINUTE,
    unready: datetime | None = None,
    ended: datetime | None = None,
    phase: str = "Running",
    is_leaving: bool = False,
) -> Any:
    ready = {
        "type": "Ready",
        "status": "False" if unready else "True",
        "lastTransitionTime": time_of(unready or created),
    }
    state = {"lastState": {"terminated": {"finishedAt": time_of(ended)}}} if ended else {}
    leaving = {"deletionTimestamp": time_of(NOW)} if is_leaving else {}
    return {
        "metadata": {"name": "pod", "creationTimestamp": time_of(created), **leaving},
        "spec": {"nodeName": "node"},
        "status": {"phase": phase, "conditions": [ready], "containerStatuses": [state]},
    }


@pytest.mark.parametrize(
    ("found", "is_named"),
    [
        (pod(), False),
        (pod(unready=NOW), True),
        # One that an autoscaler has added since.
        (pod(created=NOW, unready=NOW), False),
        (pod(created=NOW - MINUTE, unready=NOW - MINUTE), False),
        (pod(unready=NOW, is_leaving=True), False),
        # Evicted: its program has ended, which counts once.
        (pod(unready=NOW, phase="Failed"), False),
        ({**pod(), "status": {"phase": "Pending"}}, False),
    ],
)
def test_a_pod_that_had_its_chance_is_ready(found: Any, is_named: bool) -> None:
    assert bool(unready_since([found], NOW - MINUTE)) == is_named


@pytest.mark.parametrize(
    ("found", "is_named"),
    [
        (pod(), False),
        (pod(ended=NOW), True),
        (pod(ended=NOW - 2 * MINUTE), False),
        (pod(ended=NOW, is_leaving=True), False),
    ],
)
def test_a_program_that_ended_by_itself_is_named(found: Any, is_named: bool) -> None:
    assert bool(ended_since([found], NOW - MINUTE)) == is_named


@pytest.mark.parametrize(
    ("unready", "is_out"), [(None, False), (NOW - OUT_OF_SERVICE, False), (NOW - 2 * OUT_OF_SERVICE, True)]
)
def test_a_pod_is_out_of_service_once_nobody_sends_it_requests(unready: datetime | None, is_out: bool) -> None:
    assert is_out_of_service(pod(unready=unready), NOW) == is_out
    assert not is_out_of_service({"metadata": {}}, NOW)
