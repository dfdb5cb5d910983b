"""Rate limits: a token bucket for each principal, debt for large requests, bounded memory."""

from __future__ import annotations

import pytest

from streams.security import limits
from streams.security.limits import Limits


def test_a_burst_and_then_the_rate() -> None:
    bucket = Limits(rate=10, burst=5)

    # Given an exhausted burst
    assert [bucket.charge("a", 0.0, 1) for _ in range(5)] == [0.0] * 5
    assert bucket.charge("a", 0.0, 1) > 0

    # Then the rate applies to this principal; another has its own burst
    assert bucket.charge("b", 0.0, 1) == 0.0
    let_in = sum(not bucket.charge("a", tick / 100, 1) for tick in range(1, 1001))
    assert 99 <= let_in <= 101


def test_a_large_request_leaves_a_debt() -> None:
    bucket = Limits(rate=100, burst=10)
    assert bucket.charge("a", 0.0, 1) == 0.0
    bucket.add_debt("a", 0.0, 999)

    assert bucket.charge("a", 0.0, 1) == pytest.approx(9.91)
    assert bucket.charge("a", 9.8, 1) == pytest.approx(0.11)
    assert bucket.charge("a", 9.95, 1) == 0.0


def test_no_limit_and_an_individual_rate() -> None:
    free, bound = Limits(rate=0, burst=1), Limits(rate=1, burst=1)

    assert not any(free.charge("a", 0.0, 1) for _ in range(100))
    assert not any(bound.charge("a", 0.0, 1, rate=0) for _ in range(100))
    assert free.charge("b", 0.0, 1, rate=1) == 0.0
    assert free.charge("b", 0.0, 1, rate=1) > 0


def test_a_clock_that_goes_back_adds_nothing() -> None:
    bucket = Limits(rate=10, burst=1)
    assert bucket.charge("a", 100.0, 1) == 0.0
    assert bucket.charge("a", 0.0, 1) > 0


def test_idle_principals_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PRINCIPALS", 10)
    bucket = Limits(rate=1, burst=1)
    for number in range(100):
        bucket.charge(str(number), 0.0, 1)
    assert len(bucket) == 10
