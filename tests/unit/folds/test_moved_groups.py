"""Records that clients write where their group was before a rescale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from core_rows import rows_in  # noqa: F401 - all tests run twice
from feeding import apply

from streams.engine.testing import MemoryRows
from streams.events.codec import decode, encode
from streams.events.records import (
    Bind,
    BindPattern,
    Event,
    Message,
    Origin,
    Unbind,
    UnbindPattern,
)
from streams.fold import BadRecord, Output, Record
from streams.folds import views
from streams.folds.log_numbers import LogNumbers
from streams.folds.partition_counts import pack_counts
from streams.folds.route import Route
from streams.folds.row_keys import PARTITIONS
from streams.kafka.partitioner import own_key, partition_of

LOGS = LogNumbers(11, 22)
COUNTS = (2, 4, 8)
MOVED = own_key("group", 6, 8).decode()
"""A group that was in partition 0 of 2, in 2 of 4, and is in 6 of 8."""
SENT: list[Bind | BindPattern | Unbind | UnbindPattern | Message] = [
    Bind(MOVED, "ann"),
    Bind(MOVED, "bob", "phone"),
    Message("m1", MOVED, "me", body=b"x"),
    Message("m2", MOVED, "me", headers={"a": "b"}),
    Unbind(MOVED, "ann"),
    BindPattern(MOVED, "cid", "a.*"),
    BindPattern(MOVED, "dora", "#"),
    UnbindPattern(MOVED, "dora", "#"),
]


class Partition:
    """The route fold of one partition, and its log."""

    def __init__(self, number: int, rows: Any = None) -> None:
        self.rows = rows_of() if rows is None else rows
        self.number, self.offset = number, 100
        self._fold = Route(self.rows, number, 8, "queues", LOGS, group_topic="groups")

    def feed(self, value: bytes, key: str = MOVED) -> list[Output]:
        """Fold the next record; return what comes out."""
        record = Record(self.number, self.offset, 1_000_000, key.encode(), value)
        self.offset += 1
        list(apply(self._fold, record))
        self._fold.flush()
        outputs, self._fold.ready[:] = list(self._fold.ready), []
        return outputs


def rows_of() -> Any:
    rows = MemoryRows()
    rows.put(PARTITIONS, b"", pack_counts(COUNTS))
    return rows


def sent_on(partition: Partition, event: Event) -> Output:
    (output,) = partition.feed(encode(event))
    return output


@pytest.mark.parametrize("number", [0, 2])
def test_they_are_forwarded_and_take_effect_once(number: int) -> None:
    former, present = Partition(number), Partition(6)
    outputs = [sent_on(former, event) for event in SENT]
    for offset, (event, output) in enumerate(zip(SENT, outputs, strict=True), 100):
        assert (output.topic, output.partition, output.key) == ("groups", 6, MOVED.encode())
        assert output.type == type(event).__name__
        origin = Origin(number, offset, 0, LOGS.rescaled(8).group_events)
        assert decode(output.value) == replace(event, origin=origin)
    # In the partition of the group they do what they would have done there
    effects = [present.feed(output.value) for output in outputs]
    assert [bool(some) for some in effects] == [True] * len(SENT)
    assert views.members(present.rows, MOVED)[0] == ["bob", "cid"]
    assert views.binding_patterns(present.rows, MOVED, "cid") == ["a.*"]
    # Nothing changes in the former one
    assert list(former.rows.items()) == list(rows_of().items())
    # A worker that begins again at a checkpoint sends them again, to no effect
    assert [present.feed(output.value) for output in outputs] == [[]] * len(SENT)


def test_a_client_that_repeats_a_message_directly_has_it_delivered_once() -> None:
    former, present = Partition(0), Partition(6)
    present.feed(encode(Bind(MOVED, "ann")))
    message = Message("m", MOVED, "me")
    assert present.feed(sent_on(former, message).value)
    assert not present.feed(encode(message))
    other = Message("other", MOVED, "me")
    assert present.feed(encode(other))
    assert not present.feed(sent_on(former, other).value)


def test_watermarks_of_deliver_and_of_forwarded_records_do_not_meet() -> None:
    former, present = Partition(0), Partition(6)
    ours = LOGS.rescaled(8).queue_events
    assert present.feed(encode(Bind(MOVED, "ann", origin=Origin(0, 10**9, 0, ours))))
    assert present.feed(sent_on(former, Unbind(MOVED, "ann")).value)


@pytest.mark.parametrize(
    ("number", "event"),
    [
        (1, Bind(MOVED, "ann")),  # its group was never there
        (4, Bind(MOVED, "ann")),
        (0, Bind(MOVED, "ann", "s", replaces="t")),
        (0, Bind(MOVED, "ann", origin=Origin(0, 1, 0, LOGS.queue_events))),
        (0, Message("m", MOVED, "me", origin=Origin(0, 1, 0, LOGS.rescaled(8).group_events))),
        (0, BindPattern(MOVED, "ann", "a.*", origin=Origin(0, 1, 0, LOGS.queue_events))),
    ],
)
def test_others_are_dead_letters(number: int, event: Event) -> None:
    partition = Partition(number)
    with pytest.raises(BadRecord):
        partition.feed(encode(event))
    assert list(partition.rows.items()) == list(rows_of().items())


def test_without_a_rescale_a_record_out_of_place_is_a_dead_letter() -> None:
    partition = Partition(0, MemoryRows())
    with pytest.raises(BadRecord, match="belongs to partition 6"):
        partition.feed(encode(Bind(MOVED, "ann")))
    # nor is an origin in group-events one of ours
    present = Partition(6, MemoryRows())
    forged = Bind(MOVED, "ann", origin=Origin(0, 1, 0, LOGS.group_events))
    with pytest.raises(BadRecord, match="names log"):
        present.feed(encode(forged))
    assert partition_of(MOVED.encode(), 8) == 6
