"""Copies of random states: what an export holds, and what becomes of it in other partitions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import pytest
import semantics
import test_invariants as members_world
import test_queues_of_all_kinds as queues_world
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from two_logs import LOGS, TABLES, WINDOW_MS, TwoLogs

from streams.engine.testing import MemoryRows
from streams.events.codec import decode, encode
from streams.events.records import Message
from streams.folds import deliver as deliver_fold
from streams.folds import delivery as deliveries
from streams.folds import inbox as inboxes
from streams.folds import packing, views
from streams.folds.counts import Counts
from streams.folds.deliver import Deliver
from streams.folds.packing import Packer
from streams.folds.route import Route
from streams.folds.row_keys import FOUNDATION
from streams.operate.backup import file, placing
from streams.operate.backup.chosen import Chosen
from streams.operate.backup.container import ExportWriter, read_export
from streams.operate.backup.cut import Cut, before_cut
from streams.operate.backup.entries import log_time, members_entries, queues_entries
from streams.operate.backup.file import Entry
from streams.operate.backup.placing import Placing

PARTITIONS = members_world.PARTITIONS
SEQS_PER_RECORD = members_world.SEQS_PER_RECORD
SETTINGS = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a world takes minutes to shrink
)
DERIVED = b"wlzfk"
"""First bytes of the keys of rows that a copy has its own of, or needs none of."""


@pytest.fixture(autouse=True, scope="module")
def _small_limits() -> Iterator[None]:
    """Make what is split at thousands split at a few, and share every message."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (packing, deliver_fold):
            patch.setattr(module, "SEQS_PER_RECORD", SEQS_PER_RECORD)
        patch.setattr(packing, "CHANGES_PER_RECORD", 3)
        for room in (deliver_fold, deliveries, placing):
            patch.setattr(room, "SHARED_FROM", 1)
        patch.setattr(inboxes, "STEP", 1)
        yield


class Raw:
    """Rows in memory by raw key."""

    def __init__(self, rows: Any = None) -> None:
        self.rows: dict[bytes, bytes] = dict(rows.items()) if rows is not None else {}

    def get(self, key: bytes) -> bytes | None:
        return self.rows.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(row for row in self.rows.items() if start <= row[0] < end))


class Sorted:
    """A scratch in memory."""

    def __init__(self) -> None:
        self._rows: list[tuple[bytes, bytes]] = []

    def add(self, name: bytes, receiver: bytes) -> None:
        self._rows.append((name, receiver))

    def sorted(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted(self._rows))


def start_of(members: Iterable[Raw], seq_base: int = 1 << 40) -> dict[str, Any]:
    clocks = [log_time(rows) for rows in members]
    unnamed = [mark for _, mark in clocks if mark is not None]
    return {
        "format": 1,
        "id": "x",
        "at": 0,
        "namespace": "",
        "partitions": PARTITIONS,
        "group_offsets": [0],
        "queue_offsets": [0],
        "seq_base": seq_base,
        "level": 1,
        "log_time": max(time for time, _ in clocks),
        "unnamed_until": max(unnamed, default=None),
        "groups": [],
        "queues": [],
    }


def entries_of(members: list[Raw], queues: list[Raw], chosen: Chosen | None = None) -> list[Entry]:
    chosen = chosen or Chosen()
    found: list[Entry] = []
    for rows in members:
        found += members_entries(rows, chosen)
    for rows in queues:
        found += queues_entries(rows, chosen, Sorted())
    return found


def through_a_file(start: dict[str, Any], entries: list[Entry]) -> list[Entry]:
    out = BytesIO()
    writer = ExportWriter(out)
    writer.write(file.START, start)
    for entry in entries:
        writer.write(*entry)
    writer.close()
    (kind, read_start), *others = read_export(BytesIO(out.getvalue()))
    assert (kind, read_start) == (file.START, start)
    return others


def placed(entries: list[Entry], partitions: int, start: dict[str, Any]) -> dict[str, list[Raw]]:
    """Return the rows of a namespace into which entries are imported, by table and partition."""
    to = Placing(partitions, start, b"")
    tables = {table: [Raw() for _ in range(partitions)] for table in TABLES}
    rows = [*to.first_rows(), *to.clock_rows()]
    for entry in entries:
        rows += to.rows(*entry)
    rows += to.last_rows()
    for table, partition, key, value in rows:
        assert key not in tables[table][partition].rows, key  # type: ignore[index]
        tables[table][partition].rows[key] = value  # type: ignore[index]
    return tables  # type: ignore[return-value]


def plain(entries: Iterable[Entry]) -> list[str]:
    """Return what entries say, whatever their order and which deliveries share a message."""
    found = []
    for kind, values in entries:
        if kind == file.DELIVERY:
            message = values["message"]
            if isinstance(message, tuple):
                message = message[1]
            found += [repr((kind, message, one)) for one in values["receivers"]]
        else:
            found.append(repr((kind, values)))
    return sorted(found)


def own(rows: Raw) -> dict[bytes, bytes]:
    """Return the rows that a copy must have, with shared messages in their place."""
    found = {}
    for key, value in rows.rows.items():
        if key[0] in DERIVED or key[:1] in (b"r", b"n"):
            continue
        if key[:1] in (b"i", b"h") and value[0] == 2:
            stored = deliveries.unpack(value)
            message = rows.rows[b"r\0" + stored.shared]
            assert (stored.shared_size, stored.at) == (len(message), at_of(message))
            stored.shared, stored.shared_size, stored.message = b"", 0, message
            value = stored.pack()
        found[key] = value
    return found


def check_copies(world: TwoLogs, partitions: int) -> None:
    members, queues = ([Raw(rows) for rows in world.rows(table)] for table in TABLES)
    start = start_of(members)
    entries = through_a_file(start, entries_of(members, queues))
    assert plain(entries) == plain(entries_of(members, queues))
    # In any number of partitions it is the same
    other = placed(entries, partitions, start)
    assert plain(entries_of(other["members"], other["queues"])) == plain(entries)
    # In as many partitions the rows are, byte for byte, but for what belongs to the logs
    same = placed(entries, PARTITIONS, start)
    clock = b"t\0"
    for table, before in (("members", members), ("queues", queues)):
        for old, new in zip(before, same[table], strict=True):
            expected, found = own(old), own(new)
            expected.pop(clock, None), found.pop(clock, None)
            assert found == expected


def at_of(message: bytes) -> int:
    decoded = decode(message)
    assert isinstance(decoded, Message)
    return decoded.at


@SETTINGS
@given(members_world.scripts, st.sampled_from([1, 3, 5]))
def test_copies_of_bindings_and_ids(script: list[tuple[Any, ...]], partitions: int) -> None:
    check_copies(members_world.play(script), partitions)


@SETTINGS
@given(queues_world.scripts, st.sampled_from([1, 3, 5]))
def test_copies_of_queues_of_all_kinds(script: list[tuple[Any, ...]], partitions: int) -> None:
    check_copies(queues_world.play(script), partitions)


class Copier:
    """Takes a copy of a world that goes on meanwhile, as `streams export` does."""

    def __init__(self, world: TwoLogs) -> None:
        self._world = world
        # What is durable of `queues`, and the place of the copy.
        self._queues = [world.seats["queues", n].checkpoints[-1] for n in range(PARTITIONS)]
        self._place = [len(log) for log in world.logs["group-events"]]

    def end(self) -> tuple[list[MemoryRows], list[MemoryRows], list[int], list[int], list[int]]:
        """Return members, queues, the cut in both logs, and offsets beyond all seqs."""
        world = self._world
        members = []
        for number, place in enumerate(self._place):
            while (
                world.seats["members", number].owner.position < place
                or world.seats["members", number].owner.fold.work
            ):
                world.work("members", number, 3)
                world.later("members", number, 3)
            world.checkpoint("members", number)
            members.append(world.seats["members", number].checkpoints[-1])
        cut = [checkpoint.position for checkpoint in members]
        logs = world.logs["queue-events"]
        ends = [len(log) for log in logs]
        tables = [one.rows.copy() for one in members], [one.rows.copy() for one in self._queues]
        one = Cut(
            [
                Route(rows, n, PARTITIONS, "queue-events", LOGS, WINDOW_MS)
                for n, rows in enumerate(tables[0])
            ],
            [
                Deliver(rows, n, PARTITIONS, "group-events", LOGS)
                for n, rows in enumerate(tables[1])
            ],
            cut,
            ends,
        )
        for number, start in enumerate(self._queues):
            one.roll(number, logs[number][start.position :])
        one.come_to_rest(world.clock)
        assert one.come_to_rest(world.clock) == 0
        return *tables, cut, ends, one.next_offsets


@SETTINGS
@given(members_world.scripts, members_world.scripts)
def test_a_copy_of_a_world_that_goes_on_is_one_state(
    before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]
) -> None:
    # Given a copy that is begun at one time, and ended later
    world = TwoLogs(PARTITIONS)
    members_world.run(world, before)
    copier = Copier(world)
    members_world.run(world, after[:40])
    members, queues, cut, ends, _ = copier.end()
    group_log, queue_log = (
        [log[:end] for log, end in zip(world.logs[topic], places, strict=True)]
        for topic, places in (("group-events", cut), ("queue-events", ends))
    )
    expected = semantics.groups(group_log, WINDOW_MS, LOGS.queue_events)
    arrived = semantics.queues(queue_log, SEQS_PER_RECORD, LOGS.group_events)

    # Then inboxes hold the messages before the cut, and no others, with the seqs that readers saw
    inboxes: dict[str, list[Any]] = defaultdict(list)
    for rows in queues:
        for queue in members_world._owners(rows, "delivery"):
            for seq, message in views.inbox(rows, queue):
                inboxes[queue].append((seq, message.id, message.group))
    wanted = {
        queue: [
            (seq, expected.messages[place].id, expected.messages[place].group)
            for seq, place in sorted(left.items())
            if place[1] < cut[place[0]]
        ]
        for queue, left in arrived.left.items()
    }
    assert inboxes == {queue: found for queue, found in wanted.items() if found}

    # And every message before the cut has reached all queues that were bound at its place
    got: dict[semantics.Place, set[str]] = defaultdict(set)
    for queue, deliveries_of in arrived.got.items():
        for _, place in deliveries_of:
            if place[1] < cut[place[0]]:
                got[place].add(queue)
    assert got == {place: names for place, names in expected.receivers.items() if names}

    # And the bindings are inverses, within sessions that are open
    bound = {
        (group, member.queue): member.session
        for rows in members
        for group in members_world._owners(rows, "member")
        for queue in views.members(rows, group)[0]
        if (member := views.member(rows, group, queue))
    }
    inverse = {
        (group, queue): views.binding(rows, queue, group)[1]
        for rows in queues
        for queue in members_world._owners(rows, "binding")
        for group in views.groups(rows, queue)[0]
    }
    assert bound == inverse
    closing = {
        key[1:].split(b"\0")[0].decode()
        for rows in queues
        for key, _ in rows.items()
        if key[:1] == b"s" and key.endswith(b"\0c")
    }
    for (_, queue), session in bound.items():
        assert session in (None, arrived.session.get(queue)) or queue in closing


def test_of_a_record_that_crosses_the_cut_the_first_part_is_left() -> None:
    out: list[Any] = []
    packer = Packer("queue-events", 1, out, Counts(), LOGS.group_events)
    for offset in range(3):
        packer.change(0, offset, 1, b"g%d" % offset, b"q", b"")
    packer.delivery(0, 3, 0, encode(Message("m", "g", "me")), b"q\0", 1)
    packer.flush()
    value = out[0].value
    assert before_cut(value, [0, 4]) == value
    assert before_cut(value, [9, 0]) is None
    left: Any = decode(before_cut(value, [0, 2]))
    assert (left.change_groups, left.delivery_offsets) == (("g0", "g1"), ())
    assert before_cut(b"garbage", [0, 0]) == b"garbage"
    assert before_cut(value[:-1], [0, 0]) == value[:-1]


def test_only_what_is_chosen_is_copied() -> None:
    chosen = Chosen(["team-*"], ["ann", "b*"])
    assert chosen.binding("team-a", "ann")
    assert not chosen.binding("team-a", "cid")
    assert not chosen.binding("lobby", "bob")
    assert chosen.destination("@bob")
    assert not chosen.destination("@cid")
    assert Chosen().binding("any", "any")


def test_seqs_go_on_above_those_of_the_copy() -> None:
    rows = placed([], 1, start_of([Raw()], seq_base=1 << 33))["queues"][0].rows
    assert rows[FOUNDATION + b"\0"] == (1 << 33).to_bytes(8, "big")
