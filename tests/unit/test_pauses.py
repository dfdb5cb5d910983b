"""Pauses between attempts: they double up to a limit, with jitter, and begin anew."""

from __future__ import annotations

from streams.pauses import JITTER, Pauses


def test_pauses_double_up_to_the_longest_and_begin_anew() -> None:
    pauses = Pauses(0.1, 2.0)
    low, high = JITTER

    for expected in (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0):
        assert low * expected <= pauses.next() <= high * expected
    pauses.reset()
    assert pauses.next() <= high * 0.1


def test_two_clients_do_not_try_together() -> None:
    assert len({Pauses(1.0, 1.0).next() for _ in range(20)}) > 1
