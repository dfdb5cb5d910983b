"""Partitions that an open transaction holds."""

from __future__ import annotations

from streams.engine.holds import CHECKPOINT_SECONDS, HOLD_SECONDS, Ends, HoldWatch

ONE, OTHER = ("group-events", 0), ("queue-events", 1)


def test_a_partition_that_stands_below_its_end_is_held() -> None:
    watch = HoldWatch()

    # Given a transaction that has just begun, it is not worth a word
    assert watch.look(100.0, {ONE: Ends(12, 7), OTHER: Ends(5, 5)}) == {}
    assert watch.high == {ONE: 12, OTHER: 5}

    # When it is still open after a while, then it holds the partition
    assert watch.look(100.0 + HOLD_SECONDS, {ONE: Ends(20, 7), OTHER: Ends(6, 6)}) == {ONE: 7}
    watch.held(ONE, 7, 50.0)
    assert watch.holds[ONE].report()["since"] == 50_000
    assert watch.holds[ONE].report()["seconds"] > 0

    # And it is found only once, until it ends
    assert watch.look(200.0, {ONE: Ends(30, 7), OTHER: Ends(6, 6)}) == {}
    assert watch.holds[ONE].offset == 7
    assert watch.look(201.0, {ONE: Ends(31, 31), OTHER: Ends(6, 6)}) == {}
    assert watch.holds == {}


def test_transactions_that_follow_one_another_hold_nothing() -> None:
    watch = HoldWatch()
    for number in range(20):
        ends = {ONE: Ends(10 * number + 9, 10 * number)}
        assert watch.look(number * HOLD_SECONDS, ends) == {}
    assert watch.holds == {}


def test_a_checkpoint_of_another_worker_may_take_its_time() -> None:
    watch = HoldWatch()
    assert watch.look(0.0, {ONE: Ends(9, 1)}, {ONE}) == {}
    assert watch.look(CHECKPOINT_SECONDS - 1, {ONE: Ends(9, 1)}, {ONE}) == {}
    assert watch.look(CHECKPOINT_SECONDS, {ONE: Ends(9, 1)}, {ONE}) == {ONE: 1}


def test_the_next_transaction_is_another_hold() -> None:
    watch = HoldWatch()
    watch.look(0.0, {ONE: Ends(9, 1)})
    assert watch.look(10.0, {ONE: Ends(9, 1)}) == {ONE: 1}
    watch.held(ONE, 1, None)
    assert watch.look(11.0, {ONE: Ends(9, 5)}) == {}
    assert watch.holds == {}
    assert watch.look(21.0, {ONE: Ends(9, 5)}) == {ONE: 5}


def test_a_partition_that_is_no_longer_watched_is_forgotten() -> None:
    watch = HoldWatch()
    watch.look(0.0, {ONE: Ends(9, 1)})
    watch.held(ONE, 1, None)
    assert watch.look(1.0, {}) == {}
    assert (watch.holds, watch.high) == ({}, {})
    assert watch.look(60.0, {ONE: Ends(9, 1)}) == {}


def test_a_leader_that_does_not_answer_ends_no_hold_and_begins_none() -> None:
    # Given a transaction that holds a partition, and another partition that stands
    watch = HoldWatch()
    watch.look(0.0, {ONE: Ends(12, 7), OTHER: Ends(9, 8)})
    watch.look(HOLD_SECONDS, {ONE: Ends(12, 7), OTHER: Ends(9, 9)})
    watch.held(ONE, 7, None)

    # When Kafka does not tell their ends for a while, then what was known stays
    assert watch.look(60.0, {}, unknown={ONE, OTHER}) == {}
    assert watch.high == {ONE: 12, OTHER: 9}
    assert watch.holds.keys() == {ONE}

    # And of a partition that is no longer watched, nothing stays
    assert watch.look(61.0, {OTHER: Ends(9, 9)}) == {}
    assert watch.high == {OTHER: 9}
    assert watch.holds == {}
