"""Competing consumers: leases and failed deliveries.

A queue becomes a job queue with its first Lease.  A delivery that is not acked before its lease
expires becomes available again in its old place; a nacked delivery returns after a delay.  In
a queue without leases it returns at the end, with a new seq, so that readers find it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.events.records import Configure
from streams.folds.delivery import StoredDelivery
from streams.folds.emitter import Emitter
from streams.folds.inbox import STEP, Inboxes, pack_seq
from streams.folds.notices import Notices
from streams.folds.options import DEFAULT_VISIBILITY_MS, Queue, Queues
from streams.folds.packing import SEQS_PER_RECORD
from streams.folds.timers import RELEASE, Timer, Timers

RETRY: Final = "retry"
REJECT: Final = "reject"
EXTEND: Final = "extend"


class Jobs:
    """Leases and nacks of the queues of one partition."""

    def __init__(
        self,
        timers: Timers,
        queues: Queues,
        inboxes: Inboxes,
        emitter: Emitter,
        notices: Notices,
        seq_base: int = 0,
    ) -> None:
        """Take the parts of the fold; `seq_base` is added to offsets in seqs."""
        self._seq_base = seq_base
        self._timers = timers
        self._queues = queues
        self._inboxes = inboxes
        self._emitter = emitter
        self._notices = notices

    def lease(
        self, queue: bytes, consumer: bytes, limit: int, visibility_ms: int | None
    ) -> Iterator[None]:
        """Lease up to `limit` deliveries to a consumer: highest priority first, then oldest."""
        state = self._queues.get(queue)
        inboxes, now = self._inboxes, self._emitter.now
        if state is None:
            state = self._queues.add(queue, Configure(queue.decode(), at=now))
            yield from inboxes.count(queue, state)
        if not state.jobs:
            state.jobs = True
            yield from inboxes.index(queue)
        until = now + (visibility_ms or state.options.visibility_ms or DEFAULT_VISIBILITY_MS)
        taken: list[int] = []
        number = 0
        while len(taken) < limit:
            seq = inboxes.first_available(queue)
            if seq is None:
                break
            delivery = inboxes.get(queue, seq)
            assert delivery is not None
            if delivery.expired(now):
                inboxes.drop(queue, seq, delivery, state, "expired")
            else:
                delivery.tries += 1
                delivery.until, delivery.leased, delivery.consumer = until, True, consumer
                inboxes.withhold(queue, seq, delivery)
                inboxes.rewrite(queue, seq, delivery)
                taken.append(int.from_bytes(seq, "big"))
            number += 1
            if not number % STEP:
                yield
        self._queues.save(queue, state)
        self._notices.leased(self._emitter.offset, taken)

    def nack(
        self, queue: bytes, seqs: list[int], outcome: str, delay_ms: int, consumer: bytes | None
    ) -> Iterator[None]:
        """Take back deliveries, reject them, or extend their leases."""
        state = self._queues.get(queue)
        for number, one in enumerate(seqs, 1):
            if one < 0:
                continue
            seq = pack_seq(one)
            delivery = self._inboxes.get(queue, seq)
            if delivery is None or (consumer is not None and delivery.consumer != consumer):
                continue
            if outcome == EXTEND:
                self._extend(queue, seq, delivery, delay_ms)
            else:
                self._fail(queue, seq, delivery, state, outcome, delay_ms, number)
            if not number % STEP:
                yield
        if state is not None:
            self._queues.save(queue, state)

    def release(self, queue: bytes, seq: bytes) -> None:
        """End a lease or a delay; its timer has fired."""
        delivery = self._inboxes.get(queue, seq)
        if delivery is None:
            return
        state = self._queues.get(queue)
        if state is not None and delivery.leased and state.gave_up(delivery.tries):
            self._inboxes.drop(queue, seq, delivery, state, "tries")
            self._queues.save(queue, state)
        else:
            self._inboxes.release(queue, seq, delivery)

    def _extend(self, queue: bytes, seq: bytes, delivery: StoredDelivery, delay_ms: int) -> None:
        if delivery.leased:
            self._timers.cancel(Timer(delivery.until, RELEASE, queue, seq))
            delivery.until = self._emitter.now + delay_ms
            self._timers.set(Timer(delivery.until, RELEASE, queue, seq))
            self._inboxes.rewrite(queue, seq, delivery)

    def _fail(
        self,
        queue: bytes,
        seq: bytes,
        delivery: StoredDelivery,
        state: Queue | None,
        outcome: str,
        delay_ms: int,
        number: int,
    ) -> None:
        inboxes = self._inboxes
        tries = delivery.tries if delivery.leased else delivery.tries + 1
        if outcome == REJECT or (state is not None and state.gave_up(tries)):
            reason = "rejected" if outcome == REJECT else "tries"
            delivery.tries = tries
            inboxes.drop(queue, seq, delivery, state, reason)
            return
        if delivery.until:
            self._timers.cancel(Timer(delivery.until, RELEASE, queue, seq))
        delivery.tries = tries
        until = self._emitter.now + delay_ms if delay_ms else 0
        if state is None or not state.jobs:
            if until:
                delivery.until = until
                inboxes.hold(queue, seq, delivery, state)
            else:
                inboxes.move(queue, seq, delivery, self._new_seq(number))
        elif until:
            delivery.until, delivery.leased, delivery.consumer = until, False, b""
            inboxes.withhold(queue, seq, delivery)
            inboxes.rewrite(queue, seq, delivery)
        else:
            inboxes.release(queue, seq, delivery)

    def _new_seq(self, number: int) -> bytes:
        return pack_seq((self._seq_base + self._emitter.offset) * SEQS_PER_RECORD + number)
