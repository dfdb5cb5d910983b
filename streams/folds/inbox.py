"""The inboxes of one partition.

Rows (numbers are big-endian; see `delivery` for the value of a delivery):

====================  =========================  ============================================
bucket                suffix                     value
====================  =========================  ============================================
``i`` queue           8 bytes: seq               a delivery
``v`` queue           8 bytes: seq               empty: this delivery is transient
``h`` queue           8 bytes: seq               a held delivery: it returns to the inbox
                                                 with a new seq
``a`` queue           9 - priority; seq          empty: an available delivery of a job queue
``r``                 8 bytes: its name, the     a message that several rows share
                      seq of the first of them
``n``                 the same                   4 bytes: how many rows share it
====================  =========================  ============================================

A plain delivery to a queue without options costs one row written and one deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from struct import Struct
from typing import Final

from streams.events.limits import MAX_MESSAGE_PRIORITY
from streams.fold import Rows
from streams.folds.counts import Counts
from streams.folds.delivery import StoredDelivery, is_plain, unpack, whole
from streams.folds.emitter import Emitter
from streams.folds.front import Front
from streams.folds.notices import Notices
from streams.folds.options import DROP_OLDEST, REJECT, Queue, Queues
from streams.folds.row_keys import (
    AVAILABLE,
    HELD,
    INBOX,
    SESSION,
    SHARED_MESSAGES,
    SHARERS,
    TRANSIENT,
)
from streams.folds.timers import EXPIRY, RELEASE, RETURN, Timer, Timers

STEP: Final = 1000  # rows handled before the event loop runs other tasks
_FRONTS: Final = 256

pack_seq = Struct(">Q").pack


class Inboxes:
    """The deliveries of one partition; each method concerns one queue."""

    def __init__(
        self,
        rows: Rows,
        timers: Timers,
        queues: Queues,
        emitter: Emitter,
        counts: Counts,
        notices: Notices,
    ) -> None:
        self._rows = rows
        self._timers = timers
        self._queues = queues
        self._emitter = emitter
        self._counts = counts
        self._notices = notices
        self._fronts: dict[bytes, Front] = {}

    # Shared messages --------------------------------------------------------------------

    def share(self, delivery: StoredDelivery, count: int) -> None:
        """Count `count` more rows that share the message of a delivery."""
        row = self._rows.get(SHARERS, delivery.shared)
        if row is None:
            self._rows.put(SHARED_MESSAGES, delivery.shared, delivery.message)
        else:
            count += int.from_bytes(row, "big")
        self._rows.put(SHARERS, delivery.shared, count.to_bytes(4, "big"))

    def _let_go(self, delivery: StoredDelivery) -> None:
        """Count one row less that shares the message; delete the message with the last one."""
        name = delivery.shared
        if not name:
            return
        row = self._rows.get(SHARERS, name)
        left = 0 if row is None else int.from_bytes(row, "big") - 1
        if left > 0:
            self._rows.put(SHARERS, name, left.to_bytes(4, "big"))
        else:
            self._rows.delete(SHARED_MESSAGES, name)
            self._rows.delete(SHARERS, name)

    # One delivery -----------------------------------------------------------------------

    def arrive(
        self, queue: bytes, seq: bytes, delivery: StoredDelivery, row: bytes
    ) -> Iterator[None] | None:
        """Put a delivery into the inbox, unless it expired or the queue refuses it.

        Args:
            row: the delivery, packed.

        Returns:
            Steps to run when older deliveries have to make room, which may be many.
        """
        if delivery.expired(self._emitter.now):
            return None
        if delivery.transient and self._rows.get(SESSION + queue, b"") is None:
            return None
        state = self._queues.get(queue)
        if state is not None:
            expires_at = state.expires_at(delivery.expires_at, self._emitter.now)
            if expires_at != delivery.expires_at:
                # Other queues get the same delivery, without this queue's limit
                delivery = replace(delivery, expires_at=expires_at)
                row = delivery.pack()
            if not state.has_room(delivery.size):
                return self._displace(queue, state, seq, delivery, row)
            self._count_in(queue, state, delivery)
        if delivery.shared:
            self.share(delivery, 1)
        self._enter(queue, seq, delivery, row, state)
        return None

    def remove(
        self, queue: bytes, seq: bytes, delivery: StoredDelivery, state: Queue | None
    ) -> None:
        """Remove a delivery; the caller saves `state`."""
        self._leave(queue, seq, delivery, state)
        self._let_go(delivery)
        if state is not None:
            state.length -= 1
            state.size -= delivery.size

    def drop(
        self, queue: bytes, seq: bytes, delivery: StoredDelivery, state: Queue | None, reason: str
    ) -> None:
        """Remove a delivery and send it to the dead letter queue or group, if there is one."""
        whole(self._rows, delivery)
        self.remove(queue, seq, delivery, state)
        self._dead_letter(queue, delivery, state, reason)

    def rewrite(self, queue: bytes, seq: bytes, delivery: StoredDelivery) -> None:
        """Update a delivery."""
        self._rows.put(INBOX + queue, seq, delivery.pack())

    def get(self, queue: bytes, seq: bytes) -> StoredDelivery | None:
        """Return a delivery."""
        row = self._rows.get(INBOX + queue, seq)
        return None if row is None else unpack(row)

    # Job queues -------------------------------------------------------------------------

    def first_available(self, queue: bytes) -> bytes | None:
        """Return the seq of the delivery that the next Lease gets; None without one."""
        key = self._front(AVAILABLE + queue).first()
        return None if key is None else key[1:]

    def withhold(self, queue: bytes, seq: bytes, delivery: StoredDelivery) -> None:
        """Make a delivery of a job queue unavailable until its time `until`."""
        self._front(AVAILABLE + queue).delete(available_key(seq, delivery))
        self._timers.set(Timer(delivery.until, RELEASE, queue, seq))

    def release(self, queue: bytes, seq: bytes, delivery: StoredDelivery) -> None:
        """Make a delivery available again; its timer is gone."""
        delivery.until, delivery.leased, delivery.consumer = 0, False, b""
        self.rewrite(queue, seq, delivery)
        self._front(AVAILABLE + queue).put(available_key(seq, delivery))
        self._notices.delivered(queue)
        self._notices.released(queue, int.from_bytes(seq, "big"))

    def index(self, queue: bytes) -> Iterator[None]:
        """Make all deliveries of the inbox available to competing consumers."""
        front = self._front(AVAILABLE + queue)
        for number, (seq, row) in enumerate(self._rows.scan(INBOX + queue), 1):
            front.put(available_key(seq, unpack(row)))
            if not number % STEP:
                yield

    # Deliveries that return -------------------------------------------------------------

    def hold(self, queue: bytes, seq: bytes, delivery: StoredDelivery, state: Queue | None) -> None:
        """Take a delivery out of the inbox until its time `until`; it still counts."""
        until, delivery.until = delivery.until, 0
        self._leave(queue, seq, delivery, state)
        delivery.until = until
        self._rows.put(HELD + queue, seq, delivery.pack())
        self._timers.set(Timer(until, RETURN, queue, seq))

    def come_back(self, queue: bytes, seq: bytes, new: bytes) -> None:
        """Put a held delivery back, with a new seq; its timer has fired."""
        row = self._rows.get(HELD + queue, seq)
        if row is None:
            return
        self._rows.delete(HELD + queue, seq)
        delivery = unpack(row)
        delivery.until = 0
        self._again(queue, new, delivery)

    def move(self, queue: bytes, seq: bytes, delivery: StoredDelivery, new: bytes) -> None:
        """Give a delivery a new seq, so that readers find it at the end."""
        self._leave(queue, seq, delivery, self._queues.get(queue))
        self._again(queue, new, delivery)

    def _again(self, queue: bytes, new: bytes, delivery: StoredDelivery) -> None:
        state = self._queues.get(queue)
        reason = ""
        if delivery.expired(self._emitter.now):
            reason = "expired"
        elif not delivery.transient or self._rows.get(SESSION + queue, b"") is not None:
            self._enter(queue, new, delivery, delivery.pack(), state)
            return
        whole(self._rows, delivery)
        self._let_go(delivery)
        if state is not None:
            state.length -= 1
            state.size -= delivery.size
            self._queues.save(queue, state)
            if reason:
                self._dead_letter(queue, delivery, state, reason)

    # Many deliveries --------------------------------------------------------------------

    def ack(self, queue: bytes, upto: int | None, seqs: list[int]) -> Iterator[None]:
        """Remove acked deliveries, and send the receipts that their senders want."""
        bucket = INBOX + queue
        state = self._queues.get(queue)
        self._counts.acks += 1
        if upto is not None and upto >= 0:
            last = pack_seq(upto)
            for number, (seq, row) in enumerate(self._rows.scan(bucket), 1):
                if seq > last:
                    break
                self._done(queue, seq, row, state)
                if not number % STEP:
                    yield
        for number, one in enumerate(seqs, 1):
            if one >= 0:
                seq = pack_seq(one)
                found = self._rows.get(bucket, seq)
                if found is not None:
                    self._done(queue, seq, found, state)
            if not number % STEP:
                yield
        if state is not None:
            self._queues.save(queue, state)

    def purge(self, queue: bytes) -> Iterator[None]:
        """Remove all deliveries of a queue, including held ones."""
        state = self._queues.get(queue)
        for number, (seq, row) in enumerate(self._rows.scan(INBOX + queue), 1):
            self.remove(queue, seq, unpack(row), state)
            if not number % STEP:
                yield
        for number, (seq, row) in enumerate(self._rows.scan(HELD + queue), 1):
            held = unpack(row)
            self._rows.delete(HELD + queue, seq)
            self._let_go(held)
            self._timers.cancel(Timer(held.until, RETURN, queue, seq))
            if not number % STEP:
                yield
        if state is not None:
            state.length = state.size = 0
            self._queues.save(queue, state)

    def end_transient(self, queue: bytes) -> Iterator[None]:
        """Remove the transient deliveries: the session has ended."""
        state = self._queues.get(queue)
        number = 0
        for number, (seq, _) in enumerate(self._rows.scan(TRANSIENT + queue), 1):
            delivery = self.get(queue, seq)
            if delivery is not None:
                self.remove(queue, seq, delivery, state)
            if not number % STEP:
                yield
        if number and state is not None:
            self._queues.save(queue, state)

    def expire(self, queue: bytes, seq: bytes) -> None:
        """Drop an expired delivery."""
        delivery = self.get(queue, seq)
        if delivery is not None:
            state = self._queues.get(queue)
            self.drop(queue, seq, delivery, state, "expired")
            if state is not None:
                self._queues.save(queue, state)

    def count(self, queue: bytes, state: Queue) -> Iterator[None]:
        """Count the deliveries of a queue that gets options now."""
        state.length = state.size = 0
        for bucket in (INBOX, HELD):
            for number, (_, row) in enumerate(self._rows.scan(bucket + queue), 1):
                state.length += 1
                state.size += unpack(row).size
                if not number % STEP:
                    yield

    def trim(self, queue: bytes, state: Queue) -> Iterator[None]:
        """Drop the oldest deliveries of a queue that is over its limits."""
        number = 0
        while state.overfull() and self._drop_oldest(queue, state):
            number += 1
            if not number % STEP:
                yield

    def forget(self, queue: bytes) -> None:
        """Drop what is cached of a queue that was deleted."""
        for kind in (INBOX, AVAILABLE):
            self._fronts.pop(kind + queue, None)

    # Internals --------------------------------------------------------------------------

    def _done(self, queue: bytes, seq: bytes, row: bytes, state: Queue | None) -> None:
        if state is None and is_plain(row):
            self._rows.delete(INBOX + queue, seq)
            self._counts.removed += 1
            return
        delivery = unpack(row)
        if delivery.receipt:
            whole(self._rows, delivery)
        self.remove(queue, seq, delivery, state)
        if delivery.receipt:
            self._emitter.receipt(queue.decode(), delivery.message)

    def _enter(
        self, queue: bytes, seq: bytes, delivery: StoredDelivery, row: bytes, state: Queue | None
    ) -> None:
        self._counts.delivered += 1
        front = self._fronts.get(INBOX + queue)
        if front is None:
            self._rows.put(INBOX + queue, seq, row)
        else:
            front.put(seq, row)
        if delivery.expires_at:
            self._timers.set(Timer(delivery.expires_at, EXPIRY, queue, seq))
        if delivery.transient:
            self._rows.put(TRANSIENT + queue, seq, b"")
        if state is not None and state.jobs:
            self._front(AVAILABLE + queue).put(available_key(seq, delivery))
        self._notices.delivered(queue)

    def _leave(
        self, queue: bytes, seq: bytes, delivery: StoredDelivery, state: Queue | None
    ) -> None:
        self._counts.removed += 1
        front = self._fronts.get(INBOX + queue)
        if front is None:
            self._rows.delete(INBOX + queue, seq)
        else:
            front.delete(seq)
        if delivery.expires_at:
            self._timers.cancel(Timer(delivery.expires_at, EXPIRY, queue, seq))
        if delivery.transient:
            self._rows.delete(TRANSIENT + queue, seq)
        if delivery.until:
            self._timers.cancel(Timer(delivery.until, RELEASE, queue, seq))
        elif state is not None and state.jobs:
            self._front(AVAILABLE + queue).delete(available_key(seq, delivery))

    def _displace(
        self, queue: bytes, state: Queue, seq: bytes, delivery: StoredDelivery, row: bytes
    ) -> Iterator[None]:
        size = delivery.size
        if state.options.overflow == DROP_OLDEST:
            largest = state.options.max_bytes
            if largest is None or size <= largest:
                number = 0
                while not state.has_room(size) and self._drop_oldest(queue, state):
                    number += 1
                    if not number % STEP:
                        yield
        if state.has_room(size):
            self._count_in(queue, state, delivery)
            if delivery.shared:
                self.share(delivery, 1)
            self._enter(queue, seq, delivery, row, state)
            return
        if state.options.overflow == REJECT:
            self._emitter.rejection(queue.decode(), delivery.message)
        self._dead_letter(queue, delivery, state, "overflow")
        self._queues.save(queue, state)

    def _count_in(self, queue: bytes, state: Queue, delivery: StoredDelivery) -> None:
        state.length += 1
        state.size += delivery.size
        self._queues.save(queue, state)

    def _drop_oldest(self, queue: bytes, state: Queue) -> bool:
        seq = self._front(INBOX + queue).first()
        if seq is None:
            return False
        delivery = self.get(queue, seq)
        assert delivery is not None
        self.drop(queue, seq, delivery, state, "overflow")
        return True

    def _dead_letter(
        self, queue: bytes, delivery: StoredDelivery, state: Queue | None, reason: str
    ) -> None:
        if state is None:
            return
        options = state.options
        what = queue.decode(), delivery.message, reason, delivery.tries
        if options.dead_letter is not None:
            self._emitter.dead_letter(*what, options.dead_letter)
        elif options.dead_letter_group is not None:
            self._emitter.dead_letter_to_group(
                *what, options.dead_letter_group, keyed=options.dead_letter_keyed
            )

    def _front(self, bucket: bytes) -> Front:
        front = self._fronts.get(bucket)
        if front is None:
            if len(self._fronts) >= _FRONTS:
                self._fronts.clear()
            front = self._fronts[bucket] = Front(self._rows, bucket)
        return front


def available_key(seq: bytes, delivery: StoredDelivery) -> bytes:
    """Return a delivery's suffix in the index: higher priorities first, then older ones."""
    return bytes((MAX_MESSAGE_PRIORITY - delivery.priority,)) + seq
