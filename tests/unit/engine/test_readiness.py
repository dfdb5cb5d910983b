"""What a worker says of its readiness, and why."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from streams.engine.readiness import Condition, not_ready, trouble

WELL = Condition(
    brokers="kafka:9092",
    failure=None,
    stopping=False,
    waiting=None,
    started=True,
    heartbeat_age=0.5,
    session_timeout=10.0,
    rebalancing=False,
    generation=3,
)
READY = {"state": "ready", "ready": True}
OPENING = {"state": "opening", "ready": False}
FIRST, SECOND = ("members", 0), ("queues", 1)


def test_a_worker_is_ready_when_all_of_its_partitions_are() -> None:
    assert not_ready(WELL, {FIRST, SECOND}, {FIRST: READY, SECOND: READY}) is None
    assert not_ready(WELL, set(), {}) is None


def test_it_is_not_ready_while_a_partition_is_not() -> None:
    assert not_ready(WELL, {FIRST, SECOND}, {FIRST: READY, SECOND: OPENING}) == (
        "1 of 2 partitions are not ready; partition 1 of queues is opening"
    )


def test_the_reason_names_a_transaction_that_holds_the_partition() -> None:
    held = {"state": "restoring", "ready": False, "held": {"offset": 7}}
    assert not_ready(WELL, {FIRST}, {FIRST: held}) == (
        "1 of 1 partitions are not ready; partition 0 of members is restoring: an open "
        "transaction holds it at offset 7"
    )


def test_the_reason_tells_why_a_partition_failed() -> None:
    failed = {"state": "failed", "ready": False, "held": None, "failure": "no space is left"}
    assert not_ready(WELL, {FIRST}, {FIRST: failed}) == (
        "1 of 1 partitions are not ready; partition 0 of members is failed: no space is left"
    )
    assert not_ready(WELL, {FIRST}, {FIRST: failed | {"state": "opening"}}) == (
        "1 of 1 partitions are not ready; partition 0 of members is opening after a failure: "
        "no space is left"
    )


def test_the_reason_says_that_a_newer_version_is_needed() -> None:
    needs = {"state": "failed", "ready": False, "needs": "the partition has level 2"}
    assert not_ready(WELL, {FIRST}, {FIRST: needs}) == (
        "1 of 1 partitions are not ready; partition 0 of members is failed: the partition has "
        "level 2"
    )


def test_it_is_not_ready_while_the_source_of_a_partition_cannot_be_read() -> None:
    lost = READY | {"lost": "no access to queue-events/1 for 12 s: Broker: Leader not available"}
    rows = {FIRST: READY | {"lost": None}, SECOND: lost}
    assert not_ready(WELL, {FIRST, SECOND}, rows) == (
        "1 of 2 partitions cannot read their source; partition 1 of queues has no access to "
        "queue-events/1 for 12 s: Broker: Leader not available"
    )


def test_it_is_not_ready_before_an_assigned_partition_is_opened() -> None:
    assert not_ready(WELL, {FIRST, SECOND}, {FIRST: READY}) == (
        "1 of 2 partitions are not opened yet; one is partition 1 of queues"
    )


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        (replace(WELL, failure="stuck"), "this worker has failed and is about to exit"),
        (replace(WELL, stopping=True), "this worker is stopping"),
        (
            replace(WELL, waiting="connection refused", started=False, generation=0),
            "waiting for Kafka at kafka:9092: connection refused",
        ),
        (replace(WELL, started=False, generation=0), "this worker is starting"),
        (
            replace(WELL, heartbeat_age=12.4, rebalancing=True),
            "waiting for Kafka at kafka:9092: it has accepted no heartbeat for 12 s",
        ),
        (replace(WELL, rebalancing=True), "partitions are being assigned"),
        (
            replace(WELL, generation=0, heartbeat_age=math.inf),
            "no partitions are assigned yet",
        ),
    ],
)
def test_the_reason_is_the_cause(condition: Condition, reason: str) -> None:
    # Not even a worker without partitions is ready then: it cannot know who has them
    assert trouble(condition) == reason
    assert not_ready(condition, set(), {}) == reason
    assert not_ready(condition, {FIRST}, {FIRST: READY}) == reason
