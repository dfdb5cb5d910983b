"""The inboxes of one partition: what comes in, what goes out, and what waits.

Rows (numbers are big-endian; `delivery` says what a delivery's row holds):

====================  =========================  ============================================
bucket                suffix                     value
====================  =========================  ============================================
``i`` queue           8 bytes: seq               a delivery
``v`` queue           8 bytes: seq               empty: this delivery is transient
``h`` queue           8 bytes: seq               a delivery that is held: it comes into the
                                                 inbox again, with a new seq
``a`` queue           9 - priority; seq          empty: of a queue that consumers compete
                                                 for, what is to be had
``r``                 8 bytes: its name, the     a message that several rows share
                      seq of the first of them
``n``                 the same                   4 bytes: how many rows do
====================  =========================  ============================================

A plain delivery to a queue without options is one row written, and one deleted.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from streams.events.limits import MAX_MESSAGE_PRIORITY
from streams.fold import Rows
from streams.folds.asking import Asking
from streams.folds.counts import Counts
from streams.folds.delivery import MESSAGES, Delivery, is_plain, unpack, whole
from streams.folds.front import Front
from streams.folds.notices import Notices
from streams.folds.options import DROP_OLDEST, REJECT, Queue, Queues
from streams.folds.timers import EXPIRY, RELEASE, RETURN, Timer, Timers

INBOX: Final = b"i"
TRANSIENT: Final = b"v"
HELD: Final = b"h"
AVAILABLE: Final = b"a"
SESSION: Final = b"s"
_SHARERS: Final = b"n"

STEP: Final = 1000  # rows between two turns of the event loop
_FRONTS: Final = 256

pack_seq = Struct(">Q").pack


class Inboxes:
    """All that is known of deliveries; each method concerns one queue."""

    def __init__(
        self,
        rows: Rows,
        timers: Timers,
        queues: Queues,
        asking: Asking,
        counts: Counts,
        notices: Notices,
    ) -> None:
        self._rows = rows
        self._timers = timers
        self._queues = queues
        self._asking = asking
        self._counts = counts
        self._notices = notices
        self._fronts: dict[bytes, Front] = {}

    # Messages that are shared ------------------------------------------------------------

    def share(self, delivery: Delivery, count: int) -> None:
        """Take note of `count` more rows that share the message of a delivery."""
        row = self._rows.get(_SHARERS, delivery.shared)
        if row is None:
            self._rows.put(MESSAGES, delivery.shared, delivery.message)
        else:
            count += int.from_bytes(row, "big")
        self._rows.put(_SHARERS, delivery.shared, count.to_bytes(4, "big"))

    def _let_go(self, delivery: Delivery) -> None:
        """Take note that a delivery ends; the last one of a shared message takes it along."""
        name = delivery.shared
        if not name:
            return
        row = self._rows.get(_SHARERS, name)
        left = 0 if row is None else int.from_bytes(row, "big") - 1
        if left > 0:
            self._rows.put(_SHARERS, name, left.to_bytes(4, "big"))
        else:
            self._rows.delete(MESSAGES, name)
            self._rows.delete(_SHARERS, name)

    # One delivery -----------------------------------------------------------------------

    def arrive(
        self, queue: bytes, seq: bytes, delivery: Delivery, row: bytes
    ) -> Iterator[None] | None:
        """Take any delivery into the inbox, if it has a place there; `row` is it packed.

        Where others must give way first, that is left to the steps that are returned: they
        may be many.
        """
        if delivery.expired(self._asking.now):
            return None
        if delivery.transient and self._rows.get(SESSION + queue, b"") is None:
            return None
        state = self._queues.get(queue)
        if state is not None:
            if not state.has_room(delivery.size):
                return self._displace(queue, state, seq, delivery, row)
            self._count_in(queue, state, delivery)
        if delivery.shared:
            self.share(delivery, 1)
        self._enter(queue, seq, delivery, row, state)
        return None

    def remove(self, queue: bytes, seq: bytes, delivery: Delivery, state: Queue | None) -> None:
        """Take a delivery out; the caller saves `state`."""
        self._leave(queue, seq, delivery, state)
        self._let_go(delivery)
        if state is not None:
            state.length -= 1
            state.size -= delivery.size

    def drop(
        self, queue: bytes, seq: bytes, delivery: Delivery, state: Queue | None, reason: str
    ) -> None:
        """Take a delivery out for a reason that the dead letter queue wants to know."""
        whole(self._rows, delivery)
        self.remove(queue, seq, delivery, state)
        self._dead_letter(queue, delivery, state, reason)

    def rewrite(self, queue: bytes, seq: bytes, delivery: Delivery) -> None:
        """Write a delivery that is there already."""
        self._rows.put(INBOX + queue, seq, delivery.pack())

    def get(self, queue: bytes, seq: bytes) -> Delivery | None:
        """Return a delivery."""
        row = self._rows.get(INBOX + queue, seq)
        return None if row is None else unpack(row)

    # What consumers compete for ---------------------------------------------------------

    def first_available(self, queue: bytes) -> bytes | None:
        """Return the seq of what the next consumer gets."""
        key = self._front(AVAILABLE + queue).first()
        return None if key is None else key[1:]

    def withhold(self, queue: bytes, seq: bytes, delivery: Delivery) -> None:
        """Let no consumer have a delivery of a job queue until its time, `until`."""
        self._front(AVAILABLE + queue).delete(available_key(seq, delivery))
        self._timers.set(Timer(delivery.until, RELEASE, queue, seq))

    def release(self, queue: bytes, seq: bytes, delivery: Delivery) -> None:
        """Let consumers have a delivery that was withheld; its timer is done with."""
        delivery.until, delivery.leased, delivery.consumer = 0, False, b""
        self.rewrite(queue, seq, delivery)
        self._front(AVAILABLE + queue).put(available_key(seq, delivery))
        self._notices.delivered(queue)
        self._notices.released(queue, int.from_bytes(seq, "big"))

    def index(self, queue: bytes) -> Iterator[None]:
        """Make all that the inbox holds available to competing consumers."""
        front = self._front(AVAILABLE + queue)
        for number, (seq, row) in enumerate(self._rows.scan(INBOX + queue), 1):
            front.put(available_key(seq, unpack(row)))
            if not number % STEP:
                yield

    # What comes back --------------------------------------------------------------------

    def hold(self, queue: bytes, seq: bytes, delivery: Delivery, state: Queue | None) -> None:
        """Take a delivery out until its time, `until`; it still counts."""
        until, delivery.until = delivery.until, 0
        self._leave(queue, seq, delivery, state)
        delivery.until = until
        self._rows.put(HELD + queue, seq, delivery.pack())
        self._timers.set(Timer(until, RETURN, queue, seq))

    def come_back(self, queue: bytes, seq: bytes, new: bytes) -> None:
        """Take a held delivery in again, with a new seq; its timer is done with."""
        row = self._rows.get(HELD + queue, seq)
        if row is None:
            return
        self._rows.delete(HELD + queue, seq)
        delivery = unpack(row)
        delivery.until = 0
        self._again(queue, new, delivery)

    def move(self, queue: bytes, seq: bytes, delivery: Delivery, new: bytes) -> None:
        """Give a delivery a new seq, so that who reads on finds it."""
        self._leave(queue, seq, delivery, self._queues.get(queue))
        self._again(queue, new, delivery)

    def _again(self, queue: bytes, new: bytes, delivery: Delivery) -> None:
        state = self._queues.get(queue)
        reason = ""
        if delivery.expired(self._asking.now):
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

    # Many -------------------------------------------------------------------------------

    def ack(self, queue: bytes, upto: int | None, seqs: list[int]) -> Iterator[None]:
        """Remove what a consumer is done with, and send the receipts that are wanted."""
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
        """Remove all deliveries of a queue, those that are held too."""
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
        """Remove the transient deliveries: the session that they were for has ended."""
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
        """Remove a delivery whose time is over."""
        delivery = self.get(queue, seq)
        if delivery is not None:
            state = self._queues.get(queue)
            self.drop(queue, seq, delivery, state, "expired")
            if state is not None:
                self._queues.save(queue, state)

    def count(self, queue: bytes, state: Queue) -> Iterator[None]:
        """Count what a queue holds, which gets options now."""
        state.length = state.size = 0
        for bucket in (INBOX, HELD):
            for number, (_, row) in enumerate(self._rows.scan(bucket + queue), 1):
                state.length += 1
                state.size += unpack(row).size
                if not number % STEP:
                    yield

    def trim(self, queue: bytes, state: Queue) -> Iterator[None]:
        """Drop the oldest of a queue that holds more than it may."""
        number = 0
        while state.overfull() and self._drop_oldest(queue, state):
            number += 1
            if not number % STEP:
                yield

    def forget(self, queue: bytes) -> None:
        """Keep nothing in memory of a queue that has ended."""
        for kind in (INBOX, AVAILABLE):
            self._fronts.pop(kind + queue, None)

    # Within -----------------------------------------------------------------------------

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
            self._asking.receipt(queue.decode(), delivery.message)

    def _enter(
        self, queue: bytes, seq: bytes, delivery: Delivery, row: bytes, state: Queue | None
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

    def _leave(self, queue: bytes, seq: bytes, delivery: Delivery, state: Queue | None) -> None:
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
        self, queue: bytes, state: Queue, seq: bytes, delivery: Delivery, row: bytes
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
            self._asking.rejection(queue.decode(), delivery.message)
        self._dead_letter(queue, delivery, state, "overflow")
        self._queues.save(queue, state)

    def _count_in(self, queue: bytes, state: Queue, delivery: Delivery) -> None:
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
        self, queue: bytes, delivery: Delivery, state: Queue | None, reason: str
    ) -> None:
        if state is not None and state.options.dead_letter is not None:
            self._asking.dead_letter(
                queue.decode(),
                delivery.message,
                reason,
                delivery.tries,
                state.options.dead_letter,
            )

    def _front(self, bucket: bytes) -> Front:
        front = self._fronts.get(bucket)
        if front is None:
            if len(self._fronts) >= _FRONTS:
                self._fronts.clear()
            front = self._fronts[bucket] = Front(self._rows, bucket)
        return front


def available_key(seq: bytes, delivery: Delivery) -> bytes:
    """Return under what a delivery is in the index: higher priorities first, then older."""
    return bytes((MAX_MESSAGE_PRIORITY - delivery.priority,)) + seq
