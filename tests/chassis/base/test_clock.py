"""Moments that another machine's clock may have set."""

from datetime import timedelta

import pytest

from chassis.base import clock


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(seconds=5)])
def test_what_follows_is_later_even_if_a_faster_clock_came_before(ahead: timedelta) -> None:
    earlier = clock.now() + ahead
    assert clock.after(earlier) > earlier


def test_without_an_earlier_moment_it_is_now() -> None:
    assert abs(clock.after(None) - clock.now()) < timedelta(seconds=60)
