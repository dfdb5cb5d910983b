"""Random states whose partitions are split: rows are those of a copy in as many partitions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import test_copies as copies
import test_invariants as members_world
import test_queues_of_all_kinds as queues_world
from feeding import apply
from hypothesis import given
from hypothesis import strategies as st
from test_copies import PARTITIONS, SETTINGS, Raw, entries_of, own, placed, plain, start_of
from two_logs import LOGS, TABLES, TwoLogs

from streams.engine.testing import MemoryRows
from streams.errors import TooNew
from streams.events.codec import encode
from streams.events.records import Bind, Event, Message
from streams.fold import BadRecord, Record
from streams.folds import delivery as deliveries
from streams.folds.deliver import Deliver
from streams.folds.partition_counts import PARTITIONS_KEY, pack_counts, unpack_counts
from streams.folds.route import Route
from streams.kafka.partitioner import own_key, partition_of
from streams.operate.rescale.splitting import Split

_small_limits = copies._small_limits


def split(before: list[Raw], table: str, partitions: int) -> list[Raw]:
    """Return the rows of all partitions after a split."""
    found = [Raw() for _ in range(partitions)]
    for number, raw in enumerate(before):
        parts = Split(table, number, len(before), partitions)
        for key, _, places in parts.places(sorted(raw.rows.items())):
            for part, value in places:
                assert part in parts.parts
                assert key not in found[part].rows
                found[part].rows[key] = value
    return found


def check_split(world: TwoLogs, factor: int) -> None:
    tables = {table: [Raw(rows) for rows in world.rows(table)] for table in TABLES}
    after = {table: split(raws, table, factor * PARTITIONS) for table, raws in tables.items()}
    entries = entries_of(tables["members"], tables["queues"])
    # It says the same
    assert plain(entries_of(after["members"], after["queues"])) == plain(entries)
    # Each row is where, and as, an import into as many partitions has it
    imported = placed(entries, factor * PARTITIONS, start_of(tables["members"]))
    for table in TABLES:
        for mine, other in zip(after[table], imported[table], strict=True):
            expected, found = own(other), own(mine)
            expected.pop(b"t\0", None), found.pop(b"t\0", None)
            assert found == expected
    for mine, other in zip(after["members"], imported["members"], strict=True):
        assert sorted(kind(mine, b"n")) == sorted(kind(other, b"n"))  # how many patterns
    # The rows of a partition as a whole are in all parts
    for table in TABLES:
        for number, raw in enumerate(after[table]):
            former = tables[table][number % PARTITIONS]
            assert whole(raw) == whole(former)
    # A message that is shared is where deliveries share it, and is counted right
    for raw in after["queues"]:
        counts = Counter(
            deliveries.unpack(row).shared
            for key, row in raw.rows.items()
            if key[:1] in (b"i", b"h") and row[0] == 2
        )
        assert {key[2:]: int.from_bytes(row, "big") for key, row in kind(raw, b"n")} == counts
        assert {key[2:] for key, _ in kind(raw, b"r")} == set(counts)


def whole(raw: Raw) -> list[tuple[bytes, bytes]]:
    return [row for row in sorted(raw.rows.items()) if row[0][0] in b"twzk"]


def kind(raw: Raw, first: bytes) -> list[tuple[bytes, bytes]]:
    return [row for row in raw.rows.items() if row[0].startswith(first)]


@SETTINGS
@given(members_world.scripts, st.sampled_from([2, 3]))
def test_bindings_and_ids_are_split(script: list[tuple[Any, ...]], factor: int) -> None:
    check_split(members_world.play(script), factor)


@SETTINGS
@given(queues_world.scripts, st.sampled_from([2, 3]))
def test_queues_of_all_kinds_are_split(script: list[tuple[Any, ...]], factor: int) -> None:
    check_split(queues_world.play(script), factor)


def rescaled(*counts: int) -> MemoryRows:
    rows = MemoryRows()
    rows.put(PARTITIONS_KEY[:1], b"", pack_counts(counts))
    return rows


def folds(rows: MemoryRows, partitions: int) -> list[Any]:
    return [
        Route(rows, 0, partitions, "queue-events", LOGS),
        Deliver(rows, 0, partitions, "group-events", LOGS),
    ]


def test_a_worker_with_a_former_number_of_partitions_folds_nothing() -> None:
    assert unpack_counts(pack_counts([8, 64])) == [8, 64]
    assert unpack_counts(None) == []
    for partitions in (4, 8, 32):
        with pytest.raises(TooNew, match="STREAMS_PARTITIONS=16"):
            Route(rescaled(8, 16), 0, partitions, "queue-events", LOGS)
        with pytest.raises(TooNew, match="STREAMS_PARTITIONS=16"):
            Deliver(rescaled(8, 16), 0, partitions, "group-events", LOGS)
    folds(rescaled(8, 16), 16)


def test_what_a_worker_with_the_former_partitions_sends_is_refused() -> None:
    group, queue = own_key("group", 0, 4), own_key("queue", 0, 4)
    events: list[Event] = [
        Bind(group.decode(), queue.decode(), None, 0),
        Message("m", group.decode(), "me", body=b"x"),
    ]
    sent = {}
    for name, rows, partitions in (("old", MemoryRows(), 2), ("new", rescaled(2, 4), 4)):
        route = Route(rows, 0, partitions, "queue-events", LOGS)
        for offset, event in enumerate(events):
            list(apply(route, Record(0, offset, 1, group, encode(event))))
        route.flush()
        (sent[name],) = route.ready
    deliver = Deliver(rescaled(2, 4), 0, 4, "group-events", LOGS)
    assert partition_of(sent["new"].key, 4) == 0
    list(apply(deliver, Record(0, 0, 1, sent["new"].key, sent["new"].value)))
    assert deliver._counts.delivered == 1
    with pytest.raises(BadRecord, match="names log"):
        list(apply(deliver, Record(0, 1, 1, sent["new"].key, sent["old"].value)))


def test_messages_of_the_folds_stay_in_the_history_when_the_log_has_another_number() -> None:
    numbers = LOGS.rescaled_from(64)
    for count in (8, 16, 64):
        assert LOGS.rescaled(count).queue_events in numbers
        assert LOGS.rescaled(count).queue_events != LOGS.queue_events
    assert LOGS.queue_events in numbers
    assert LOGS.rescaled(48).queue_events not in numbers
