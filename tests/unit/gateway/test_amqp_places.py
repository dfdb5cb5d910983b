"""What a connection has sent, by place, and what a look at a queue has to wait for."""

from __future__ import annotations

from streams.gateway.amqp.places import Places, Sent
from streams.gateway.ports import RecordToSend
from streams.kafka.partitioner import partition_of

PARTITIONS = 4


def record(topic: str, key: str) -> RecordToSend:
    return RecordToSend(topic, key.encode(), b"", "any")


def places() -> Places:
    return Places("queue-events", PARTITIONS)


def test_a_queue_lacks_what_was_sent_until_its_log_has_a_mark_behind_it() -> None:
    found = places()
    assert (found.unmarked("q"), found.read_at("q")) == ([], -1)
    found.confirmed(record("group-events", "g"), (1, 7))
    found.confirmed(record("group-events", "h"), (1, 9))
    found.confirmed(record("group-events", "g"), (1, 8))  # confirmed late
    assert found.unmarked("q") == [(1, Sent("h", 9))]

    found.marked("q", 1, Sent("h", 9), 20)

    assert (found.unmarked("q"), found.read_at("q")) == ([], 20)
    found.confirmed(record("group-events", "g"), (1, 10))
    assert found.unmarked("q") == [(1, Sent("g", 10))]


def test_queues_of_another_partition_have_marks_of_their_own() -> None:
    found = places()
    other = next(
        name for name in "abcdefgh" if partition_of(name.encode(), PARTITIONS) != number("q")
    )
    found.confirmed(record("group-events", "g"), (1, 7))
    found.marked("q", 1, Sent("g", 7), 20)
    assert found.unmarked(other) == [(1, Sent("g", 7))]
    assert found.read_at(other) == -1


def test_what_was_sent_to_a_queue_itself_is_read_at_its_place() -> None:
    found = places()
    found.confirmed(record("queue-events", "q"), (number("q"), 30))
    found.confirmed(record("queue-events", "q"), (number("q"), 29))
    assert (found.unmarked("q"), found.read_at("q")) == ([], 30)


def number(queue: str) -> int:
    return partition_of(queue.encode(), PARTITIONS)
