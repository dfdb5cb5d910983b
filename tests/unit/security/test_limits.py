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
    bucket.charge_rest("a", 0.0, 999)

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


def test_who_accepts_a_wait_reserves_events_in_advance() -> None:
    bucket = Limits(rate=1, burst=10)
    assert bucket.charge("a", 0.0, 10) == 0.0

    # Each of many waiters has its own second; none is let in for free
    waits = [bucket.charge("a", 0.0, 1, longest=5.0) for _ in range(200)]
    assert waits[:5] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert waits[5:] == [6.0] * 195
    # and nobody else is admitted meanwhile
    assert bucket.charge("a", 0.0, 1) == pytest.approx(6.0)
    assert bucket.charge("a", 5.5, 1) == pytest.approx(0.5)
    assert bucket.charge("a", 6.0, 1) == 0.0


def test_a_debt_of_50_000_events_admits_nobody_who_waits_for_seconds() -> None:
    # Given a rate of one event a second, and 50,000 events in debt
    bucket = Limits(rate=1, burst=2000)
    assert bucket.charge_rest("a", 0.0, 52_000) == 0.0

    # When 200 streams ask for three events each, every five seconds, for a while
    asked = [
        bucket.charge("a", second, 1, longest=5.0) for second in range(0, 33, 5) for _ in range(200)
    ]

    # Then none is let in, and the debt does not grow by asking
    assert min(asked) > 49_000
    assert bucket.charge("a", 50_001.0, 1) == 0.0


def test_the_rest_of_a_request_is_refused_while_in_debt() -> None:
    # Given twelve requests at once, which are admitted as one event each
    bucket = Limits(rate=1, burst=2000)
    assert [bucket.charge("a", 0.0, 1) for _ in range(12)] == [0.0] * 12

    # When each turns out to cause 110,000 events more
    refused = [bucket.charge_rest("a", 0.0, 110_000) for _ in range(12)]

    # Then one is done
    assert refused[0] == 0.0
    assert min(refused[1:]) > 100_000
    assert bucket.charge("a", 9.0, 1) > 100_000
    assert Limits(rate=0, burst=1).charge_rest("a", 0.0, 110_000) == 0.0


def test_what_cannot_be_refused_adds_to_a_debt() -> None:
    bucket = Limits(rate=1, burst=10)
    for _ in range(2):
        bucket.owe("a", 0.0, 100)
    assert bucket.charge("a", 0.0, 1) == pytest.approx(191.0)
    assert bucket.charge("a", 191.0, 1) == pytest.approx(0.0)
    unlimited = Limits(rate=0, burst=1)
    unlimited.owe("a", 0.0, 100)
    assert unlimited.charge("a", 0.0, 1) == 0.0


def test_a_principal_in_debt_is_forgotten_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PRINCIPALS", 10)
    bucket = Limits(rate=1, burst=1)
    bucket.charge_rest("debtor", 0.0, 1000)
    for number in range(100):
        bucket.charge(str(number), 0.0, 1)
    assert len(bucket) == 10
    assert bucket.charge("debtor", 0.0, 1) > 900
