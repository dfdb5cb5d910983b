"""The deliver fold: turns queue-events into the table `queues` and sends records to route.

Rows, each in the partition of its queue (numbers are big-endian):

====================  =========================  ============================================
bucket                suffix                     value
====================  =========================  ============================================
``b`` queue           group                      the binding's session, empty for a permanent
                                                 one: the exact inverse of `members`
``i`` queue           8 bytes: seq               a delivery, nearly always the Message alone
                                                 (see `delivery`)
``v`` ``h`` ``a``                                indexes of deliveries: see `inbox`
``s`` queue           empty                      the open session; no row without one
``s`` queue           ``t``                      its terms, if any: see `sessions`
``o``                 queue                      its options, if any: see `options`
``k``                 empty                      2 bytes: the level, see `levels`
``y``                 due time; kind; queue      a timer: see `timers`
``w``                 2 bytes: a partition of    12 bytes: offset and part of the last entry
                      group-events; 1 for the    that route had for this partition
                      second lane
``f``                 empty                      8 bytes: the base of the partition's seqs; no
                                                 row for 0.  More bytes may follow
``c``                 empty                      see `partition_counts`
====================  =========================  ============================================

A delivery's seq is the offset of its record plus the partition's base, times 4096, plus its
index, from 1, among all queues in that record.  It only grows within a queue, needs no counter,
and is never 0, so that "after 0" means the whole inbox.  The base is 0 but for a partition that
began with queues of another log, such as an import: it is above the offsets in their seqs.

Time passes by Ticks: the owner of the partition appends one when `next_due` has passed.  A Tick
handles what is due by its own timestamp, so a superfluous Tick, or one of a former owner, does
no harm.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from operator import lt
from struct import Struct
from typing import Any, Final

from streams.events.checks import QUEUE_EVENT_CHECKS
from streams.events.codec import (
    MESSAGE_LAYOUT,
    ROUTED_HEADER,
    is_usual_message,
    read,
    split_ids,
)
from streams.events.records import Configure
from streams.fold import BadRecord, FoldRun, Output, Record, Rows
from streams.folds import jobs, options
from streams.folds.counts import Counts
from streams.folds.delivery import SHARED_FROM, StoredDelivery, arriving
from streams.folds.emitter import Emitter
from streams.folds.inbox import Inboxes, pack_seq
from streams.folds.levels import PartitionLevel
from streams.folds.lifetime import Lifetimes
from streams.folds.log_numbers import LogNumbers
from streams.folds.notices import Notices
from streams.folds.packing import SEQS_PER_RECORD, SLOW_LANE
from streams.folds.partition_counts import present_logs
from streams.folds.row_keys import BINDINGS, FOUNDATION, INBOX, SESSION, WATERMARKS
from streams.folds.sessions import Sessions
from streams.folds.timers import CLOSING, EXPIRY, HEARTBEAT, RELEASE, RETURN, UNUSED, Timers
from streams.ids import are_ids
from streams.kafka.partitioner import partition_of
from streams.native import DeliverCore, NativeTable

_STEP: Final = 1000  # rows handled before the event loop runs other tasks
_DUE_PER_TICK: Final = 1000
"""Timers that one Tick handles; the others remain due for the next Tick."""
_CLOSED_PER_TICK: Final = 32
"""Closed sessions that one Tick clears up, each with all its bindings."""

_partition = Struct(">H")
_place = Struct(">QI")  # offset, part


class Deliver:
    """The fold of one partition of queue-events."""

    def __init__(
        self,
        rows: Rows,
        partition: int,
        partitions: int,
        group_topic: str,
        logs: LogNumbers,
        counts: Counts | None = None,
        notices: Notices | None = None,
    ) -> None:
        self.ready: list[Output] = []
        self.work: deque[Iterator[None]] = deque()
        self.may_wait = True
        self.notices = notices or Notices()
        self._counts = counts or Counts()
        self._served = 0
        self._rows = rows
        self._partition = partition
        self._partitions = partitions
        self._level = PartitionLevel(rows, logs.queue_events)
        logs = self._logs = present_logs(rows, partitions, logs)
        base = int.from_bytes((rows.get(FOUNDATION, b"") or b"")[:8], "big")
        self._seq_base = base
        self._core: DeliverCore | None = None
        if isinstance(rows, NativeTable):
            self._core = DeliverCore(
                rows,
                (ROUTED_HEADER, *MESSAGE_LAYOUT),
                (partition, partitions, logs.group_events, SEQS_PER_RECORD, SHARED_FROM, base),
            )
        self._emitter = Emitter(self.ready, partition, partitions, group_topic, logs.queue_events)
        self._timers = Timers(rows)
        self._queues = options.Queues(rows)
        self._inboxes = Inboxes(
            rows, self._timers, self._queues, self._emitter, self._counts, self.notices
        )
        self._sessions = Sessions(rows, self._timers, self._inboxes, self._emitter)
        self._jobs = jobs.Jobs(
            self._timers, self._queues, self._inboxes, self._emitter, self.notices, base
        )
        self._lifetimes = Lifetimes(
            self._timers,
            self._queues,
            self._inboxes,
            self._sessions,
            self._emitter,
            self.notices,
        )

    @property
    def level(self) -> int:
        """The level that this partition is folded with; see `levels`."""
        return self._level.number

    @property
    def next_due(self) -> int | None:
        """When the next timer is due (milliseconds since the epoch); None without one."""
        return self._timers.next_due

    @property
    def served(self) -> int:
        """Timers that this fold has handled."""
        return self._served

    def ttl_ms(self, queue: bytes) -> int | None:
        """Return after how long without use a queue is deleted; None for never."""
        state = self._queues.get(queue)
        return None if state is None else state.options.ttl_ms

    def unused(
        self, before: int, after: bytes | None, most: int
    ) -> tuple[list[bytes], bytes | None]:
        """Return the queues that are to be deleted before a time, unless they are used.

        Args:
            before: milliseconds since the epoch.
            after: where to continue, as the last call returned it; None to begin.
            most: how many timers to look at.

        Returns:
            The queues, and where to continue; None at the end.
        """
        if not self._queues.any:
            return [], None
        return self._timers.due(UNUSED, before, after, most)

    def apply(self, record: Record) -> Iterator[None] | None:
        """Fold any event of a queue, a Routed, a Tick or a Level (`streams.fold.Fold.apply`)."""
        name, values = read(record.value)
        self._check_key(record)
        if name == "Routed":
            own = self._logs.group_events
            self._logs.check("the Routed", values["log"], own, record.timestamp)
            arriving = _check_routed(values, self._partitions)
            self._emitter.begin(record)
            steps = self._routed(record, values, arriving)
        elif name == "Tick":
            self._emitter.begin(record)
            steps = self._tick()
        elif name == "Level":
            self._level.apply(record, values)
            return None
        else:
            steps = self._event(record, name, values)
        for _ in steps:
            return steps  # the first step did not finish it
        return None

    def begin_run(self, records: Sequence[Record]) -> FoldRun | None:
        """Begin a run of the native core, if it holds the rows; see `streams.fold.RunningFold`."""
        if self._core is None:
            return None
        notices = self.notices
        return self._core.run(
            records,
            lambda: self._queues.any,
            lambda: notices.collect_delivered,
            self._delivered,
        )

    def _delivered(self, count: int, queues: list[bytes]) -> None:
        self._counts.delivered += count
        self.notices.delivered_many(queues)

    def flush(self) -> None:
        """Do nothing: this fold packs no outputs (`streams.fold.Fold.flush`)."""

    def _event(self, record: Record, name: str, values: dict[str, Any]) -> Iterator[None]:
        """Check an event of a queue; return the steps that fold it."""
        check = QUEUE_EVENT_CHECKS.get(name)
        if check is None:
            raise BadRecord(f"{name} is not an event of a queue")
        check(values)
        queue: bytes = values["queue"].encode()
        if record.key != queue:
            raise BadRecord("the key is not the queue")
        match name:
            case "Ack":
                steps = self._inboxes.ack(queue, values["upto"], values["seqs"])
            case "Open":
                session, groups = values["session"], sorted(set(values["groups"]))
                ttl, hidden = values["ttl_ms"] or 0, not values["presence"]
                steps = self._sessions.open(queue, session, groups, ttl, hidden)
            case "Touch":
                steps = self._sessions.touch(queue, values["session"])
            case "Close":
                steps = self._sessions.close(queue, values["session"].encode())
            case "Configure":
                steps = self._lifetimes.configure(queue, Configure(**values))
            case "Lease":
                steps = self._jobs.lease(
                    queue, values["consumer"].encode(), values["limit"], values["visibility_ms"]
                )
            case "Nack":
                consumer = values["consumer"]
                steps = self._jobs.nack(
                    queue,
                    values["seqs"],
                    values["outcome"],
                    values["delay_ms"],
                    None if consumer is None else consumer.encode(),
                )
            case "Purge":
                steps = self._inboxes.purge(queue)
            case _:
                steps = self._lifetimes.delete(queue)
        self._emitter.begin(record)
        return self._used(queue, steps) if self._queues.any else steps

    def _used(self, queue: bytes, steps: Iterator[None]) -> Iterator[None]:
        yield from steps
        self._lifetimes.used(queue)

    def _tick(self) -> Iterator[None]:
        """Handle due timers."""
        now = self._emitter.now
        closed = 0
        for number in range(1, _DUE_PER_TICK + 1):
            if self._timers.is_next(CLOSING):
                closed += 1
                if closed > _CLOSED_PER_TICK:
                    break
            timer = self._timers.take(now)
            if timer is None:
                break
            self._served += 1
            queue, seq = timer.queue, timer.seq
            if timer.kind == EXPIRY:
                self._inboxes.expire(queue, seq)
            elif timer.kind == RELEASE:
                self._jobs.release(queue, seq)
            elif timer.kind == RETURN:
                new = pack_seq(self._seqs(self._emitter.offset) + number)
                self._inboxes.come_back(queue, seq, new)
            elif timer.kind == CLOSING:
                yield from self._sessions.clear(queue)
                yield  # each has bindings to remove, and others wait
            elif timer.kind == HEARTBEAT:
                yield from self._sessions.look(queue)
            elif timer.kind == UNUSED:
                yield from self._lifetimes.look(queue)
            if not number % _STEP:
                yield

    def _seqs(self, offset: int) -> int:
        """Return the number before the first seq of the record at an offset."""
        return (self._seq_base + offset) * SEQS_PER_RECORD

    def _check_key(self, record: Record) -> None:
        if not record.key:
            raise BadRecord("the record has no key")
        belongs = partition_of(record.key, self._partitions)
        if belongs != self._partition:
            raise BadRecord(f"the key belongs to partition {belongs}, not {self._partition}")

    def _routed(
        self, record: Record, values: dict[str, Any], arriving: list[StoredDelivery]
    ) -> Iterator[None]:
        """Take the entries above the watermark; changes and deliveries do not affect each other."""
        source = _partition.pack(values["source"]) + (b"\1" if values["lane"] else b"")
        row = self._rows.get(WATERMARKS, source)
        last = (-1, 0) if row is None else _place.unpack(row)
        changes, places = values["change_offsets"], _places(values)
        newest = max(places[-1] if places else last, (changes[-1], 0) if changes else last)
        if newest <= last:
            return
        self._rows.put(WATERMARKS, source, _place.pack(*newest))
        yield from self._change(values, bisect_right(changes, last[0]))
        yield from self._deliver(record.offset, values, arriving, bisect_right(places, last))

    def _change(self, values: dict[str, Any], first: int) -> Iterator[None]:
        """Write the inverse bindings; ask route to undo those of a session that is not open.

        If such a late binding replaced one of the open session, route is asked to restore that
        one instead, so that the queue stays bound throughout.
        """
        get, put, delete = self._rows.get, self._rows.put, self._rows.delete
        ask = self._emitter.change
        kinds, sessions = values["change_kinds"], values["change_sessions"]
        groups, queues = split_ids(values["change_groups"]), split_ids(values["change_queues"])
        if not sessions.strip(b"\0") and not kinds.strip(b"\1"):  # all permanent, all bound
            bound_to = [BINDINGS + queue for queue in queues[first:]]
            for begin in range(0, len(bound_to), _STEP):
                end = begin + _STEP
                some = zip(bound_to[begin:end], groups[first:][begin:end], repeat(b""))
                self._rows.put_many(some)
                if end < len(bound_to):
                    yield
            return
        columns = zip(kinds, groups, queues, split_ids(sessions), strict=True)
        for number, (bound, group, queue, session) in enumerate(islice(columns, first, None), 1):
            if not bound:
                delete(BINDINGS + queue, group)
            elif not session:
                put(BINDINGS + queue, group, b"")
            else:
                opened = get(SESSION + queue, b"")
                if opened == session:
                    put(BINDINGS + queue, group, session)
                else:
                    names = group.decode(), queue.decode()
                    late = session.decode()
                    if opened is not None and get(BINDINGS + queue, group) == opened:
                        ask("Bind", *names, opened.decode(), late)
                    else:
                        ask("Unbind", *names, late)
                    put(BINDINGS + queue, group, session)
            if not number % _STEP:
                yield

    def _deliver(
        self, offset: int, values: dict[str, Any], arriving: list[StoredDelivery], first: int
    ) -> Iterator[None]:
        put_many, arrive = self._rows.put_many, self._inboxes.arrive
        delivered_many = self.notices.delivered_many
        columns = values["delivery_queues"]
        any_options = self._queues.any
        seq = self._seqs(offset) + _count(columns[:first]) + 1
        left = _STEP
        for delivery, joined in zip(arriving[first:], columns[first:], strict=True):
            queues = split_ids(joined)
            if len(queues) > 1 and len(delivery.message) >= SHARED_FROM:
                delivery.shared, delivery.shared_size = pack_seq(seq), len(delivery.message)
            row = delivery.pack()
            if any_options or delivery.expires_at or delivery.transient:
                for queue in queues:
                    steps = arrive(queue, pack_seq(seq), delivery, row)
                    if steps is not None:
                        yield from steps
                    seq += 1
            else:  # nearly always: one row written for each queue, none read
                inboxes = [INBOX + queue for queue in queues]
                after = seq + len(queues)
                put_many(zip(inboxes, map(pack_seq, range(seq, after)), repeat(row)))
                seq = after
                if delivery.shared:
                    self._inboxes.share(delivery, len(queues))
                self._counts.delivered += len(queues)
                delivered_many(queues)
            left -= len(queues)
            if left <= 0:
                left = _STEP
                yield


def _places(values: dict[str, Any]) -> list[tuple[int, int]]:
    return list(zip(values["delivery_offsets"], values["delivery_parts"], strict=True))


def _check_routed(values: dict[str, Any], partitions: int) -> list[StoredDelivery]:
    """Check that the columns are ones that route writes; no row was changed yet.

    Returns:
        A delivery for each entry.

    Raises:
        BadRecord: they are not.
    """
    if not 0 <= values["source"] < partitions:
        raise BadRecord("the source is not a partition of group-events")
    if not 0 <= values["lane"] <= SLOW_LANE:
        raise BadRecord(f"unknown lane {values['lane']}")
    offsets, kinds = values["change_offsets"], values["change_kinds"]
    columns = (values["change_groups"], values["change_queues"], values["change_sessions"])
    if not all(len(offsets) == count for count in (len(kinds), *map(_ids_of, columns))):
        raise BadRecord("the columns of changes differ in length")
    if offsets and (offsets[0] < 0 or not _ascending(offsets)):
        raise BadRecord("the changes are not in ascending order of their origin")
    if kinds.strip(b"\0\1"):
        raise BadRecord("a change is neither a bind nor an unbind")
    groups, queues, sessions = columns
    if not (are_ids(groups) and are_ids(queues) and are_ids(sessions, or_empty=True)):
        raise BadRecord("a change has an invalid id")
    return _check_deliveries(values)


def _check_deliveries(values: dict[str, Any]) -> list[StoredDelivery]:
    offsets, parts = values["delivery_offsets"], values["delivery_parts"]
    messages, columns = values["delivery_messages"], values["delivery_queues"]
    if not len(offsets) == len(parts) == len(messages) == len(columns):
        raise BadRecord("the columns of deliveries differ in length")
    if not offsets:
        return []
    if offsets[0] < 0 or min(parts) < 0 or max(parts) >= 1 << 31 or not _ascending(_places(values)):
        raise BadRecord("the deliveries are not in ascending order of their origin")
    if _count(columns) > SEQS_PER_RECORD:
        raise BadRecord(f"more than {SEQS_PER_RECORD} deliveries in one record")
    if not are_ids(b"".join(columns)):
        raise BadRecord("a delivery has an invalid queue id")
    return list(map(_arriving, messages))


def _arriving(message: bytes) -> StoredDelivery:
    """Return the delivery of an encoded Message."""
    if len(message) < SHARED_FROM and is_usual_message(message):
        return StoredDelivery(message)
    name, fields = read(message)
    if name != "Message":
        raise BadRecord("a delivery holds no Message")
    return arriving(message, fields)


def _ascending(values: list[Any]) -> bool:
    return all(map(lt, values, islice(values, 1, None)))


def _ids_of(joined: bytes) -> int:
    if joined and joined[-1]:
        raise BadRecord("an id in the Routed has no end")
    return joined.count(0)


def _count(columns: Iterable[bytes]) -> int:
    return sum(map(_ids_of, columns))
