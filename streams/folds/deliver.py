"""The deliver fold: queue-events into the table `queues`, and Binds and Unbinds it asks for.

Rows, each in the partition of its queue (numbers are big-endian):

====================  =========================  ============================================
bucket                suffix                     value
====================  =========================  ============================================
``b`` queue           group                      the binding's session, empty for a permanent
                                                 one: the exact inverse of `members`
``i`` queue           8 bytes: seq               the Message, in single-object encoding
``s`` queue           empty                      the open session; no row without one
``w``                 2 bytes: a partition of    12 bytes: offset and part of the last entry
                      group-events               that route had for this partition
====================  =========================  ============================================

A delivery's seq is the offset of its record times 4096 plus its place, from 1, among the
queues of all deliveries of that record: it only grows within a queue, needs no counter, and
is never 0, so that "after 0" is the whole inbox.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from operator import lt
from struct import Struct
from typing import Any, Final

from streams.events.codec import encode_change, read, split_ids
from streams.fold import BadRecord, Output, Record, Rows
from streams.folds.counts import Counts
from streams.folds.packing import SEQS_PER_RECORD
from streams.ids import DIRECT, are_ids, is_id
from streams.partitioner import partition_of

_BINDINGS: Final = b"b"
_INBOX: Final = b"i"
_SESSION: Final = b"s"
_WATERMARKS: Final = b"w"

_STEP: Final = 1000  # rows between two turns of the event loop

_partition = Struct(">H")
_place = Struct(">QI")  # offset, part
_pack_seq = Struct(">Q").pack


class Deliver:
    """The fold of one partition of queue-events."""

    def __init__(
        self,
        rows: Rows,
        partition: int,
        partitions: int,
        group_topic: str,
        counts: Counts | None = None,
    ) -> None:
        self._counts = counts or Counts()
        self.ready: list[Output] = []
        self.delivered: set[bytes] | None = None
        """When it is a set: each queue that got an inbox row is added to it."""
        self._rows = rows
        self._partition = partition
        self._partitions = partitions
        self._topic = group_topic

    def apply(self, record: Record) -> Iterator[None] | None:
        """Fold a Routed, Ack, Open or Close (`streams.fold.Fold.apply`)."""
        name, values = read(record.value)
        self._check_key(record)
        if name == "Routed":
            _check_routed(values, self._partitions)
            steps = self._routed(record, values)
        elif name == "Ack":
            steps = self._ack(_queue(record, values), values)
        elif name == "Open":
            session = _session(values)
            groups = sorted(set(values["groups"]))
            for group in groups:
                if not is_id(group) or group[0] == DIRECT:
                    raise BadRecord("a group of the session is no valid id of a group")
            steps = self._open(record, _queue(record, values), session, groups)
        elif name == "Close":
            steps = self._close(record, _queue(record, values), _session(values))
        else:
            raise BadRecord(f"{name} is no event of a queue")
        for _ in steps:
            return steps  # more is to come
        return None

    def flush(self) -> None:
        """Do nothing: what this fold asks for is not packed (`streams.fold.Fold.flush`)."""

    def _check_key(self, record: Record) -> None:
        if not record.key:
            raise BadRecord("the record has no key")
        belongs = partition_of(record.key, self._partitions)
        if belongs != self._partition:
            raise BadRecord(f"the key belongs to partition {belongs}, not {self._partition}")

    def _routed(self, record: Record, values: dict[str, Any]) -> Iterator[None]:
        """Take the entries above the watermark: changes first, the two do not meet."""
        source = _partition.pack(values["source"])
        row = self._rows.get(_WATERMARKS, source)
        last = (-1, 0) if row is None else _place.unpack(row)
        changes, places = values["change_offsets"], _places(values)
        newest = max(places[-1] if places else last, (changes[-1], 0) if changes else last)
        if newest <= last:
            return
        self._rows.put(_WATERMARKS, source, _place.pack(*newest))
        yield from self._change(record, values, bisect_right(changes, last[0]))
        yield from self._deliver(record.offset, values, bisect_right(places, last))

    def _change(self, record: Record, values: dict[str, Any], first: int) -> Iterator[None]:
        """Write the inverse bindings, and answer those of a session that is not open.

        Such a binding is undone.  One that took the place of the open session's (a late Bind
        of the session before) is given back to it, if it is still there by then, without a
        moment in which the queue is not bound.
        """
        get, put, delete = self._rows.get, self._rows.put, self._rows.delete
        asked = 0
        columns = zip(
            values["change_kinds"],
            split_ids(values["change_groups"]),
            split_ids(values["change_queues"]),
            split_ids(values["change_sessions"]),
            strict=True,
        )
        for number, (bound, group, queue, session) in enumerate(islice(columns, first, None), 1):
            if not bound:
                delete(_BINDINGS + queue, group)
            elif not session:
                put(_BINDINGS + queue, group, b"")
            else:
                opened = get(_SESSION + queue, b"")
                if opened == session:
                    put(_BINDINGS + queue, group, session)
                else:
                    names = group.decode(), queue.decode()
                    late = session.decode()
                    if opened is not None and get(_BINDINGS + queue, group) == opened:
                        self._ask(record, "Bind", *names, opened.decode(), asked, late)
                    else:
                        self._ask(record, "Unbind", *names, late, asked)
                    asked += 1
                    put(_BINDINGS + queue, group, session)
            if not number % _STEP:
                yield

    def _deliver(self, offset: int, values: dict[str, Any], first: int) -> Iterator[None]:
        put, delivered = self._rows.put, self.delivered
        messages, columns = values["delivery_messages"], values["delivery_queues"]
        seq = offset * SEQS_PER_RECORD + _count(columns[:first]) + 1
        until_turn = _STEP
        for message, joined in zip(messages[first:], columns[first:], strict=True):
            queues = split_ids(joined)
            for queue in queues:
                put(_INBOX + queue, _pack_seq(seq), message)
                seq += 1
            self._counts.delivered += len(queues)
            if delivered is not None:
                delivered.update(queues)
            until_turn -= len(queues)
            if until_turn <= 0:
                until_turn = _STEP
                yield

    def _ack(self, queue: bytes, values: dict[str, Any]) -> Iterator[None]:
        bucket = _INBOX + queue
        delete, counts = self._rows.delete, self._counts
        counts.acks += 1
        upto = values["upto"]
        if upto is not None and upto >= 0:
            last = _pack_seq(upto)
            for number, (seq, _) in enumerate(self._rows.scan(bucket), 1):
                if seq > last:
                    break
                delete(bucket, seq)
                counts.removed += 1
                if not number % _STEP:
                    yield
        for number, one in enumerate(values["seqs"], 1):
            if one >= 0:
                suffix = _pack_seq(one)
                if self._rows.get(bucket, suffix) is not None:
                    delete(bucket, suffix)
                    counts.removed += 1
            if not number % _STEP:
                yield

    def _open(
        self, record: Record, queue: bytes, session: str, groups: list[str]
    ) -> Iterator[None]:
        """Let the session take over; a group that both sessions bind is never left.

        An Unbind between the old binding and the new would lose what is sent meanwhile, and
        is not needed: a Bind with the new session takes over the binding of the old.
        """
        held = self._rows.get(_SESSION + queue, b"")
        asked = 0
        if held != session.encode():
            self._rows.put(_SESSION + queue, b"", session.encode())
            if held is not None:
                asked = yield from self._unbind_all(record, queue, held, frozenset(groups))
        name = queue.decode()
        for group in groups:
            self._ask(record, "Bind", group, name, session, asked)
            asked += 1
            if not asked % _STEP:
                yield

    def _close(self, record: Record, queue: bytes, session: str) -> Iterator[None]:
        held = session.encode()
        if self._rows.get(_SESSION + queue, b"") == held:
            self._rows.delete(_SESSION + queue, b"")
        yield from self._unbind_all(record, queue, held, frozenset())

    def _unbind_all(
        self, record: Record, queue: bytes, session: bytes, but: frozenset[str]
    ) -> Generator[None, None, int]:
        """Ask for the end of all bindings of a session; return how many that were."""
        asked = 0
        name, ending = queue.decode(), session.decode()
        for number, (group, held) in enumerate(self._rows.scan(_BINDINGS + queue), 1):
            if held == session and (group_id := group.decode()) not in but:
                self._ask(record, "Unbind", group_id, name, ending, asked)
                asked += 1
            if not number % _STEP:
                yield
        return asked

    def _ask(
        self,
        record: Record,
        name: str,
        group: str,
        queue: str,
        session: str,
        part: int,
        replaces: str | None = None,
    ) -> None:
        origin = (self._partition, record.offset, part)
        value = encode_change(name, group, queue, session, record.timestamp, origin, replaces)
        key = group.encode()
        target = partition_of(key, self._partitions)
        self.ready.append(Output(self._topic, target, key, value, name))


def _queue(record: Record, values: dict[str, Any]) -> bytes:
    queue = values["queue"]
    if not is_id(queue):
        raise BadRecord("the queue is no valid id")
    encoded: bytes = queue.encode()
    if record.key != encoded:
        raise BadRecord("the key is not the queue")
    return encoded


def _session(values: dict[str, Any]) -> str:
    session: str = values["session"]
    if not is_id(session):
        raise BadRecord("the session is no valid id")
    return session


def _places(values: dict[str, Any]) -> list[tuple[int, int]]:
    return list(zip(values["delivery_offsets"], values["delivery_parts"], strict=True))


def _check_routed(values: dict[str, Any], partitions: int) -> None:
    """Refuse columns that could not come from route, before a row is changed."""
    if not 0 <= values["source"] < partitions:
        raise BadRecord("the source is no partition of group-events")
    offsets, kinds = values["change_offsets"], values["change_kinds"]
    columns = (values["change_groups"], values["change_queues"], values["change_sessions"])
    if not all(len(offsets) == count for count in (len(kinds), *map(_ids_of, columns))):
        raise BadRecord("columns of changes differ in length")
    if offsets and (offsets[0] < 0 or not _ascending(offsets)):
        raise BadRecord("changes are not in the order of their origin")
    if kinds.strip(b"\0\1"):
        raise BadRecord("a change is neither bound nor unbound")
    groups, queues, sessions = columns
    if not (are_ids(groups) and are_ids(queues) and are_ids(sessions, or_empty=True)):
        raise BadRecord("a change has an invalid id")
    _check_deliveries(values)


def _check_deliveries(values: dict[str, Any]) -> None:
    offsets, parts = values["delivery_offsets"], values["delivery_parts"]
    messages, columns = values["delivery_messages"], values["delivery_queues"]
    if not len(offsets) == len(parts) == len(messages) == len(columns):
        raise BadRecord("columns of deliveries differ in length")
    if not offsets:
        return
    if offsets[0] < 0 or min(parts) < 0 or max(parts) >= 1 << 31 or not _ascending(_places(values)):
        raise BadRecord("deliveries are not in the order of their origin")
    if _count(columns) > SEQS_PER_RECORD:
        raise BadRecord(f"more than {SEQS_PER_RECORD} deliveries in one record")
    if not are_ids(b"".join(columns)):
        raise BadRecord("a delivery has an invalid queue id")
    for message in messages:
        if read(message)[0] != "Message":
            raise BadRecord("what is delivered is no Message")


def _ascending(values: list[Any]) -> bool:
    return all(map(lt, values, islice(values, 1, None)))


def _ids_of(joined: bytes) -> int:
    if joined and joined[-1]:
        raise BadRecord("broken Routed: an id without an end")
    return joined.count(0)


def _count(columns: Iterable[bytes]) -> int:
    return sum(map(_ids_of, columns))
