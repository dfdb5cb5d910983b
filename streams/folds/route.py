"""The route fold: turns group-events into the table `members` and Routed records.

Rows, each in the partition of its group (numbers are big-endian):

====================  =========================  ============================================
bucket                suffix                     value
====================  =========================  ============================================
``m`` group           queue                      2 bytes: the queue's partition of
                                                 queue-events; then its session, empty for a
                                                 permanent binding; or a NUL, see `patterns`
``u``                 group; NUL; queue          sessions, each followed by a NUL, whose
                                                 binding was covered by a Bind within another
                                                 session, the latest last
``d`` group           message id; NUL; sender    8 bytes: log time of the message
``x``                 8 bytes: log time; group;  empty: the rows of ``d`` in order of time
                      NUL; as in ``d``
``l``                 group                      empty: a large group, whose messages take
                                                 the second lane
``p`` ``n``                                      patterns of bindings: see `patterns`
``t``                 empty                      8 bytes: log time, the highest timestamp
                                                 of any message; then a mark, see `_clock`
``k``                 empty                      2 bytes: the level, see `levels`
``w``                 2 bytes: a partition of    12 bytes: offset and part of the last event
                      queue-events               that deliver sent from there; of
                                                 group-events, and 1, for the last record
                                                 that was forwarded from there
``f`` ``c``                                      see `row_keys` and `partition_counts`
====================  =========================  ============================================

After a rescale a client may still write to the partition where its group was before.  That
partition forwards the record, with its place there as the origin.

Reading any of them takes a time that does not depend on the size of the group.

A binding with patterns is permanent, and gets the messages whose routing keys match one of them.  A
queue that is bound without a pattern gets every message: then patterns add nothing, and a Bind
without a session drops them.

A message id belongs to its sender: who else may publish to the group cannot use it up.

A Bind may be late: another session may have followed the one it names.  Only the deliver fold
knows, and asks for a Bind that restores the binding, or for an Unbind.  Until then the
binding of the current session is covered, not lost: the Unbind uncovers it in one step, so
the queue never leaves the group.  The deliver fold is told of an uncovered binding as of a new
one, and asks to undo that, too, if its session is over.

A message to a large group is sent step by step while other records are folded.  Its receivers
are the members at its offset, since a scan sees the rows as they were when it began.  Its
deliveries use a second lane, in which origins are in order, too.  A group that was large once
keeps that lane, so its messages never overtake each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import islice
from struct import Struct
from typing import Any, Final

import orjson

from streams.events.checks import GROUP_EVENT_CHECKS, check_message
from streams.events.codec import (
    CHANGE_LAYOUT,
    MESSAGE_LAYOUT,
    ROUTED_HEADER,
    OriginTuple,
    change_prefixes,
    encode_change,
    encode_long,
    encode_message,
    encode_values,
    join_ids,
    read,
    read_rest,
    split_ids,
)
from streams.events.limits import MAX_MESSAGE_BYTES
from streams.fold import BadRecord, FoldRun, Output, Record, Rows
from streams.folds import fans, packing, patterns
from streams.folds.counts import Counts
from streams.folds.fans import LARGEST, Fans
from streams.folds.levels import PartitionLevel
from streams.folds.log_numbers import LogNumbers
from streams.folds.packing import BOUND, QUEUES_PER_ENTRY, SLOW_LANE, UNBOUND, Packer
from streams.folds.partition_counts import present_logs, unpack_counts
from streams.folds.patterns import receives_all
from streams.folds.row_keys import (
    COVERED,
    LARGE_GROUPS,
    LOG_TIME,
    MEMBERSHIPS,
    MESSAGE_IDS,
    MESSAGE_IDS_BY_TIME,
    PARTITIONS,
    PATTERNS,
    WATERMARKS,
)
from streams.ids import DIRECT, MAX_ID_BYTES, is_id
from streams.kafka.partitioner import partition_of
from streams.native import CoreFans, NativeTable, RouteCore

PUBLISH_WINDOW_MS: Final = 600_000
"""How long, in log time, the ids of a group's messages are remembered."""
PURGE_STEP_MS: Final = 1_000
"""Message ids are forgotten for so much log time at once: few messages have to look for them."""
DUPLICATE: Final = "duplicate"
"""Kind of the message that tells a sender that one of its messages was dropped."""

_MOST_COVERED: Final = 64
"""Covered sessions kept for one binding; the deliver fold soon unbinds each of them."""
_PURGED_PER_MESSAGE: Final = 64
_GROUPS_KNOWN: Final = 4096
_Known = tuple[bytes, bytes, bytes]  # bucket, prefix of its Binds, prefix of its Unbinds
_DIRECT: Final = DIRECT.encode()
_ORIGIN: Final = ("partition", "offset", "part", "log")
_STEP: Final = 250  # members of a large group handled before the event loop runs other tasks

_partition = Struct(">H")
_time = Struct(">Q")
_place = Struct(">QI")  # offset, part
_BY_SENDER: Final = b"\1"  # mark: every remembered id has its sender


class Route:
    """The fold of one partition of group-events."""

    def __init__(
        self,
        rows: Rows,
        partition: int,
        partitions: int,
        queue_topic: str,
        logs: LogNumbers,
        window_ms: int = PUBLISH_WINDOW_MS,
        counts: Counts | None = None,
        group_topic: str = "",
    ) -> None:
        """Begin with the rows of a partition.

        Without `group_topic`, the name of its own topic, records of groups that a rescale has moved
        are refused.
        """
        self._counts = counts or Counts()
        self.ready: list[Output] = []
        self.work: deque[Iterator[None]] = deque()
        self.may_wait = False
        self._rows = rows
        self._partition = partition
        self._partitions = partitions
        self._window = window_ms
        self._level = PartitionLevel(rows, logs.group_events)
        self._logs = present_logs(rows, partitions, logs)
        self._former = unpack_counts(rows.get(PARTITIONS, b""))[:-1]
        self._group_topic = group_topic
        log = self._logs.group_events
        self._packer: Packer | RouteCore
        self._core: RouteCore | None = None
        self._fans: Fans | CoreFans
        if isinstance(rows, NativeTable):
            self._core = self._packer = self._begin_core(rows, queue_topic)
            self._fans = CoreFans(rows)
        else:
            self._packer = Packer(queue_topic, partition, self.ready, self._counts, log)
            self._fans = Fans()
        self._patterns = patterns.GroupPatterns(rows)
        self._slow = Packer(queue_topic, partition, self.ready, self._counts, log, SLOW_LANE)
        # For the fast path, by group.
        self._known: dict[bytes | None, _Known] = {}
        self._rows_of = [_partition.pack(number) for number in range(partitions)]
        self._covered: int | None = None  # covered bindings; None: not counted yet
        self._oldest = 0  # no remembered message id has an earlier log time

    def apply(self, record: Record) -> Iterator[None] | None:
        """Fold a Bind, Unbind, Message or Level (`streams.fold.Fold.apply`)."""
        _, offset, time, key, value = record
        known = self._known.get(key) or self._learn(key)
        if known is not None and value is not None:  # the fast path of nearly all records
            bucket, bind, unbind = known
            if value.startswith(bind):
                plain = read_rest(value, len(bind), True)
                if plain is not None:
                    queue, session, origin = plain
                    if origin is None or self._is_new(origin, time):
                        self._bind(offset, bucket, queue, session, None)
                    return None
            elif value.startswith(unbind):
                plain = read_rest(value, len(unbind), False)
                if plain is not None:
                    queue, session, origin = plain
                    if origin is None or self._is_new(origin, time):
                        self._unbind(offset, bucket, queue, session)
                    return None
        name, values = read(value)
        if name == "Message":
            self._message(record, values)
            return None
        if name == "Level":
            self._check_key(record, record.key)
            self._level.apply(record, values)
            return None
        self._change(record, name, values)
        return None

    @property
    def level(self) -> int:
        """The level that this partition is folded with; see `levels`."""
        return self._level.number

    def begin_run(self, records: Sequence[Record]) -> FoldRun | None:
        """Begin a run of the native core, if it holds the rows; see `streams.fold.RunningFold`."""
        if self._core is None:
            return None
        return self._core.run(records, lambda: not self._has_covered, lambda: self._oldest)

    def flush(self) -> None:
        """Close the open Routed records (`streams.fold.Fold.flush`)."""
        self._packer.flush()

    def _begin_core(self, rows: NativeTable, topic: str) -> RouteCore:
        logs, numbers = self._logs, (self._partition, self._partitions)
        return RouteCore(
            rows,
            (*CHANGE_LAYOUT, encode_long(logs.queue_events), ROUTED_HEADER, *MESSAGE_LAYOUT),
            (
                *numbers,
                logs.group_events,
                *packing.limits(),
                self._window,
                PURGE_STEP_MS,
                LARGEST,
                fans.MEMBERS_KEPT,
            ),
            topic,
            self.ready,
            self._counts,
        )

    def _change(self, record: Record, name: str, values: dict[str, Any]) -> None:
        """Fold a Bind or Unbind that is not on the fast path, or a change of patterns."""
        check = GROUP_EVENT_CHECKS.get(name)
        if check is None:
            raise BadRecord(f"{name} is not an event of a group")
        check(values)
        group, queue = values["group"], values["queue"]
        key = group.encode()
        if self._has_moved(record, key, values):
            self._forward(record, name, values)
            return
        self._check_key(record, key)
        origin = values["origin"]
        if name in ("BindPattern", "UnbindPattern"):
            if origin is None or self._is_new(_origin_of(origin), record.timestamp):
                change = self._bind_pattern if name == "BindPattern" else self._unbind_pattern
                change(record.offset, key, queue.encode(), values["pattern"].encode())
            return
        session, replaces = values["session"], values.get("replaces")
        bucket = MEMBERSHIPS + key
        if origin is None and replaces is not None:
            raise BadRecord("replaces is set, but no fold requested this event")
        if origin is None or self._is_new(_origin_of(origin), record.timestamp):
            within = (session or "").encode()
            if name == "Bind":
                old = None if replaces is None else replaces.encode()
                self._bind(record.offset, bucket, queue.encode(), within, old)
            else:
                self._unbind(record.offset, bucket, queue.encode(), within)

    def _learn(self, group: bytes | None) -> _Known | None:
        """Remember a record's key for the fast path, if it is a group of this partition."""
        if not group or group.startswith(_DIRECT):
            return None
        prefixes = change_prefixes(group)
        if prefixes is None or partition_of(group, self._partitions) != self._partition:
            return None
        try:
            if not is_id(group.decode()):
                return None
        except UnicodeDecodeError:
            return None
        if len(self._known) >= _GROUPS_KNOWN:
            self._known.clear()
        known = self._known[group] = (MEMBERSHIPS + group, *prefixes)
        return known

    def _bind(
        self, offset: int, bucket: bytes, queue: bytes, session: bytes, replaces: bytes | None
    ) -> None:
        row = self._rows.get(bucket, queue)
        if replaces is not None and (row is None or row[2:] != replaces):
            if self._has_covered:
                self._uncover(bucket, queue, replaces)
            return
        if row is None:
            target = partition_of(queue, self._partitions)
        else:
            held = row[2:]
            if held == session or not held:
                return  # bound already, or permanently
            if held.startswith(patterns.HELD):
                if not session:
                    self._end_patterns(bucket[1:], queue)
                    self._put_held(bucket, queue, row[:2])
                return
            target = row[0] << 8 | row[1]
            if replaces is None or self._has_covered:
                self._cover(bucket, queue, b"" if replaces is not None else held, session)
        self._rows.put(bucket, queue, self._rows_of[target] + session)
        group = bucket[1:]
        self._packer.change(target, offset, BOUND, group, queue, session)
        self._fans.add(group, target, queue)

    def _unbind(self, offset: int, bucket: bytes, queue: bytes, session: bytes) -> None:
        row = self._rows.get(bucket, queue)
        if row is None:
            return
        held = row[2:]
        group = bucket[1:]
        target = row[0] << 8 | row[1]
        if session and held != session:
            if self._has_covered:
                self._uncover(bucket, queue, session)
            return
        if held.startswith(patterns.HELD):
            self._end_patterns(group, queue)
            self._packer.change(target, offset, UNBOUND, group, queue, b"")
            self._put_held(bucket, queue, None)
            return
        if self._has_covered and held:
            below = self._sessions_below(bucket, queue)
            if below and session:
                latest = below.pop()
                self._keep_below(bucket, queue, below)
                self._rows.put(bucket, queue, row[:2] + latest)
                self._packer.change(target, offset, BOUND, group, queue, latest)
                return
            self._keep_below(bucket, queue, [])
        self._rows.delete(bucket, queue)
        self._packer.change(target, offset, UNBOUND, group, queue, held)
        self._fans.remove(group, target, queue)

    def _bind_pattern(self, offset: int, group: bytes, queue: bytes, pattern: bytes) -> None:
        bucket = MEMBERSHIPS + group
        row = self._rows.get(bucket, queue)
        if row is not None and len(row) == 2:
            return  # bound to every message
        if self._patterns.has(group, queue, pattern):
            return
        target = self._rows_of[partition_of(queue, self._partitions)] if row is None else row[:2]
        self._patterns.add(group, queue, target, pattern)
        held = b"" if row is None else row[2:]
        new = patterns.held_with([pattern])
        if not held.startswith(patterns.HELD):
            if held:
                self._cover(bucket, queue, held, b"")  # the binding of the session ends
            number = target[0] << 8 | target[1]
            self._packer.change(number, offset, BOUND, group, queue, b"")
        elif held == patterns.HELD_BY_ALL:
            new = held
        if new != held:
            self._put_held(bucket, queue, target + new)

    def _unbind_pattern(self, offset: int, group: bytes, queue: bytes, pattern: bytes) -> None:
        if not self._patterns.has(group, queue, pattern):
            return
        bucket = MEMBERSHIPS + group
        row = self._rows.get(bucket, queue)
        assert row is not None, "a binding with a pattern has a row"
        self._patterns.remove(group, queue, [pattern])
        if not self._patterns.any_of(group, queue):
            self._packer.change(row[0] << 8 | row[1], offset, UNBOUND, group, queue, b"")
            self._put_held(bucket, queue, None)
        elif patterns.matches_all(pattern):
            self._put_held(bucket, queue, row[:2] + self._patterns.held(group, queue))

    def _put_held(self, bucket: bytes, queue: bytes, row: bytes | None) -> None:
        """Write the row of a membership with patterns; members with all messages may change."""
        if row is None:
            self._rows.delete(bucket, queue)
        else:
            self._rows.put(bucket, queue, row)
        self._fans.drop(bucket[1:])

    def _end_patterns(self, group: bytes, queue: bytes) -> None:
        self._patterns.remove(group, queue, self._patterns.of(group, queue))

    @property
    def _has_covered(self) -> bool:
        """Whether any binding is covered; False saves a look for each binding."""
        if self._covered is None:
            self._covered = sum(1 for _ in self._rows.scan(COVERED))
        return self._covered > 0

    def _cover(self, bucket: bytes, queue: bytes, held: bytes, session: bytes) -> None:
        """Cover the session `held` by another; a permanent binding drops all covered ones."""
        below = [s for s in self._sessions_below(bucket, queue) if s not in (held, session)]
        if held:
            below.append(held)
        self._keep_below(bucket, queue, below[-_MOST_COVERED:] if session else [])

    def _uncover(self, bucket: bytes, queue: bytes, session: bytes) -> None:
        """Remove a session from the covered ones."""
        below = self._sessions_below(bucket, queue)
        if session in below:
            self._keep_below(bucket, queue, [s for s in below if s != session])

    def _sessions_below(self, bucket: bytes, queue: bytes) -> list[bytes]:
        if not self._has_covered:
            return []
        row = self._rows.get(COVERED, bucket[1:] + b"\0" + queue)
        return [] if row is None else split_ids(row)

    def _keep_below(self, bucket: bytes, queue: bytes, sessions: list[bytes]) -> None:
        suffix = bucket[1:] + b"\0" + queue
        known = self._has_covered and self._rows.get(COVERED, suffix) is not None
        assert self._covered is not None
        self._covered += bool(sessions) - known
        if sessions:
            self._rows.put(COVERED, suffix, join_ids(sessions))
        elif known:
            self._rows.delete(COVERED, suffix)

    def _check_key(self, record: Record, group: bytes | None) -> None:
        if record.key != group or not group:
            raise BadRecord("the key is not the group")
        belongs = partition_of(group, self._partitions)
        if belongs != self._partition:
            raise BadRecord(f"the key belongs to partition {belongs}, not {self._partition}")

    def _has_moved(self, record: Record, group: bytes, values: dict[str, Any]) -> bool:
        """Tell whether a client wrote a record where its group was before a rescale."""
        if not self._former or not self._group_topic or record.key != group:
            return False
        if values["origin"] is not None:
            return False
        own, count = self._partition, self._partitions
        return partition_of(group, count) != own and any(
            partition_of(group, former) == own for former in self._former
        )

    def _forward(self, record: Record, name: str, values: dict[str, Any]) -> None:
        """Append a record to the partition of its group; its place here is its origin."""
        place = (self._partition, record.offset, 0, self._logs.group_events)
        key = values["group"].encode()
        if name in ("Message", "BindPattern", "UnbindPattern"):
            origin = dict(zip(_ORIGIN, place, strict=True))
            value = encode_values(name, {**values, "origin": origin})
        else:
            if values.get("replaces") is not None:
                raise BadRecord("replaces is set, but no fold requested this event")
            value = encode_change(
                name, values["group"], values["queue"], values["session"], values["at"], place
            )
        target = partition_of(key, self._partitions)
        self.ready.append(Output(self._group_topic, target, key, value, name))

    def _is_forwarded(self, log: int) -> bool:
        return bool(self._former) and log == self._logs.group_events

    def _is_new(self, origin: OriginTuple, timestamp: int) -> bool:
        """Advance the watermark of the origin's partition; return False for a replayed origin."""
        partition, offset, part, log = origin
        forwarded = self._is_forwarded(log)
        if log != self._logs.queue_events and not forwarded:
            self._logs.check("the origin", log, self._logs.queue_events, timestamp)
        if not (0 <= partition < self._partitions and offset >= 0 and 0 <= part < 1 << 31):
            raise BadRecord("the origin is not a position in queue-events")
        source = self._rows_of[partition] + (b"\1" if forwarded else b"")
        place = _place.pack(offset, part)
        last = self._rows.get(WATERMARKS, source)
        if last is not None and place <= last:
            return False
        self._rows.put(WATERMARKS, source, place)
        return True

    def _message(self, record: Record, values: dict[str, Any]) -> None:
        check_message(values)
        group, ident = values["group"], values["id"]
        key = group.encode()
        if self._has_moved(record, key, values):
            self._forward(record, "Message", values)
            return
        self._check_key(record, key)
        now, mark = self._clock(record.timestamp)
        origin, values["origin"] = values["origin"], None  # the origin is for route only
        values["at"] = now
        message = encode_message(values)
        if len(message) > MAX_MESSAGE_BYTES:
            raise BadRecord(f"Message has {len(message)} bytes; the limit is {MAX_MESSAGE_BYTES}")
        expires_at, echo = values["expires_at"], values["echo"]

        if origin is not None and not self._is_new(_origin_of(origin), record.timestamp):
            return
        self._rows.put(LOG_TIME, b"", _time.pack(now) + mark)
        if expires_at is not None and expires_at <= now:
            return
        if origin is None or self._is_forwarded(origin["log"]):
            sender = values["sender"].encode()
            first = self._seen(key, ident.encode(), sender, now, mark)
            if first is not None:
                self._counts.duplicates += 1
                if values["receipt"]:
                    self._tell_of_duplicate(record.offset, values, first)
                return
        self._counts.messages += 1
        but = None if echo else values["sender"].encode()
        if group[0] == DIRECT:
            queue = key[1:]
            if queue != but:
                target = partition_of(queue, self._partitions)
                self._packer.delivery(target, record.offset, 0, message, queue + b"\0", 1)
            return
        routing_key = patterns.key_of(values["headers"])
        columns = self._columns(key, but, routing_key)
        if columns is None:
            members = self._rows.scan(MEMBERSHIPS + key)  # as of now
            matching = None
            if routing_key is not None and self._patterns.count(key):
                matching = self._rows.scan(PATTERNS + key), routing_key
            self.work.append(self._fan_out(members, matching, record.offset, message, but))
            return
        deliver = self._packer.delivery
        for target, column, count in columns:
            deliver(target, record.offset, 0, message, column, count)

    def _clock(self, timestamp: int) -> tuple[int, bytes]:
        """Return the log time of a message, and the mark of the row that holds it.

        Version 0.1 wrote no mark, and remembered ids without their senders.  Until these are
        forgotten, the mark is the log time of the last of them.
        """
        row = self._rows.get(LOG_TIME, b"")
        if row is None:
            return max(timestamp, 0), _BY_SENDER
        last, mark = row[:8], row[8:] or row
        now = max(timestamp, int.from_bytes(last, "big"))
        if mark != _BY_SENDER and int.from_bytes(mark, "big") < now - self._window:
            mark = _BY_SENDER
        return now, mark

    def _seen(
        self, group: bytes, ident: bytes, sender: bytes, now: int, mark: bytes
    ) -> bytes | None:
        """Return when the sender used an id of the group before, if within the window.

        Otherwise, remember that it uses the id now.
        """
        horizon = now - self._window
        bucket = MESSAGE_IDS + group
        if mark != _BY_SENDER:
            old = self._rows.get(bucket, ident)
            if old is not None and int.from_bytes(old, "big") >= horizon:
                return old
        if len(sender) > MAX_ID_BYTES:  # only records that clients wrote to Kafka have such
            sender = sha256(sender).digest()
        ident += b"\0" + sender
        seen = self._rows.get(bucket, ident)
        if seen is not None:
            if int.from_bytes(seen, "big") >= horizon:
                return seen
            self._rows.delete(MESSAGE_IDS_BY_TIME, seen + group + b"\0" + ident)
        time = _time.pack(now)
        self._rows.put(bucket, ident, time)
        self._rows.put(MESSAGE_IDS_BY_TIME, time + group + b"\0" + ident, b"")
        oldest_kept = horizon - horizon % PURGE_STEP_MS
        if self._oldest < oldest_kept:
            self._forget(oldest_kept)
        return None

    def _tell_of_duplicate(self, offset: int, values: dict[str, Any], first: bytes) -> None:
        """Tell the queue whose id is the sender's that its message was dropped."""
        sender = values["sender"]
        if not is_id(sender):
            return
        body = {
            "id": values["id"],
            "group": values["group"],
            "first_at": int.from_bytes(first, "big"),
        }
        notice = {
            "id": f"{DUPLICATE}-{self._partition}-{offset}",
            "group": DIRECT + sender,
            "sender": "",
            "kind": DUPLICATE,
            "body": orjson.dumps(body),
            "at": values["at"],
        }
        queue = sender.encode()
        target = partition_of(queue, self._partitions)
        self._packer.delivery(target, offset, 0, encode_message(notice), queue + b"\0", 1)

    def _forget(self, horizon: int) -> None:
        """Remove some message ids older than the horizon."""
        for count, (suffix, _) in enumerate(self._rows.scan(MESSAGE_IDS_BY_TIME)):
            self._oldest = int.from_bytes(suffix[:8], "big")
            if self._oldest >= horizon or count == _PURGED_PER_MESSAGE:
                break
            group, ident = suffix[8:].split(b"\0", 1)
            self._rows.delete(MESSAGE_IDS_BY_TIME, suffix)
            self._rows.delete(MESSAGE_IDS + group, ident)

    def _columns(
        self, group: bytes, but: bytes | None, routing_key: bytes | None
    ) -> list[tuple[int, bytes, int]] | None:
        """Return the receivers of a message (see `Fans.columns`); None for a large group."""
        columns = self._fans.columns(group, but)
        if columns is None and self._rows.get(LARGE_GROUPS, group) is None:
            rows = self._rows.scan(MEMBERSHIPS + group)
            every = ((row[0] << 8 | row[1], queue) for queue, row in rows if receives_all(row))
            members = list(islice(every, LARGEST + 1))
            if len(members) > LARGEST:
                self._rows.put(LARGE_GROUPS, group, b"")
            else:
                self._fans.keep(group, members)
                columns = self._fans.columns(group, but)
        if columns is None or routing_key is None:
            return columns
        count = self._patterns.count(group)
        if count > LARGEST:
            self._rows.put(LARGE_GROUPS, group, b"")
            self._fans.drop(group)
            return None
        if not count:
            return columns
        return _joined(columns, self._patterns.reached(group, routing_key), but)

    def _fan_out(
        self,
        members: Iterator[tuple[bytes, bytes]],
        matching: tuple[Iterator[tuple[bytes, bytes]], bytes] | None,
        offset: int,
        message: bytes,
        but: bytes | None,
    ) -> Iterator[None]:
        """Deliver to all members but one, in order of their queue ids, in parts.

        Of those with patterns, to those whose rows in `matching` match the routing key there.

        How it is split into parts depends on the members only: the part number belongs to the
        origin, by which a replay is recognized.
        """
        parts: dict[int, int] = {}
        waiting: dict[int, list[bytes]] = {}
        matched: set[bytes] = set()
        if matching is not None:
            rows, words = matching[0], patterns.words_of(matching[1])
            for number, (suffix, _) in enumerate(rows, 1):
                queue, _, pattern = suffix.partition(b"\0")
                if queue not in matched and patterns.compiled(pattern)(words):
                    matched.add(queue)
                if not number % _STEP:
                    yield
        for number, (queue, row) in enumerate(members, 1):
            if queue != but and (len(row) == 2 or receives_all(row) or queue in matched):
                target = row[0] << 8 | row[1]
                queues = waiting.get(target)
                if queues is None:
                    queues = waiting[target] = []
                queues.append(queue)
                if len(queues) == QUEUES_PER_ENTRY:
                    self._part(target, offset, parts, message, queues)
                    del waiting[target]
            if not number % _STEP:
                yield
        for target, queues in waiting.items():
            self._part(target, offset, parts, message, queues)

    def _part(
        self, target: int, offset: int, parts: dict[int, int], message: bytes, queues: list[bytes]
    ) -> None:
        part = parts.get(target, 0)
        parts[target] = part + 1
        self._slow.delivery(target, offset, part, message, join_ids(queues), len(queues))
        self._slow.flush_one(target)


def _joined(
    columns: list[tuple[int, bytes, int]], more: dict[int, list[bytes]], but: bytes | None
) -> list[tuple[int, bytes, int]]:
    """Return columns with more queues, which they do not have, but one; each in order."""
    found = {target: (column, count) for target, column, count in columns}
    for target, reached in more.items():
        queues = [queue for queue in reached if queue != but]
        if queues:
            column, count = found.get(target, (b"", 0))
            joined = join_ids(sorted([*split_ids(column), *queues]) if count else queues)
            found[target] = joined, count + len(queues)
    return [(target, column, count) for target, (column, count) in found.items()]


def _origin_of(origin: dict[str, int]) -> OriginTuple:
    return origin["partition"], origin["offset"], origin["part"], origin["log"]
