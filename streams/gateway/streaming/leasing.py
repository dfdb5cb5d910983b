"""Competing consumers on streams: which of them appends a Lease, and when.

The owner of a queue knows all consumers that compete for it, including those of clients of
other workers.  They wait in line here, so that a new message does not make each of them append
a Lease: one does.  While Leases get all they ask for, more are appended at once.  What a Lease
gets is decided by the fold, in the order of the log, as for leases over HTTP.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from streams.errors import StreamsError, Unavailable
from streams.folds import views
from streams.gateway.ports import Partition, RecordMetadata, RecordToSend
from streams.gateway.reads.lease_results import LeaseResults
from streams.gateway.streaming.subscription import StreamSubscription

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 64
"""Messages that one Lease asks for at most."""
MOST_LEASES: Final = 64
"""Leases of one queue that may be pending at once."""
FOLD_SECONDS: Final = 10.0
"""How long the fold may take to reach a Lease that Kafka has confirmed."""
PAUSE_SECONDS: Final = 1.0
"""Pause before a failed Lease is repeated."""
LONGEST_PAUSE_SECONDS: Final = 5.0
"""How long a consumer whose client is over its rate limit leaves the line at a time."""


class LeaseConnection(Protocol):
    """The part of a stream connection that leasing uses."""

    def lease_pause(self) -> float:
        """Charge a Lease to the client; return 0, or the seconds until its rate allows one."""
        ...

    def owe(self, events: int) -> None:
        """Charge the client events that can no longer be refused."""
        ...

    def lease(self, subscription: StreamSubscription, limit: int) -> RecordToSend:
        """Make the Lease of a subscription; raises as `EventParser.lease`."""
        ...

    def leased(self, subscription: StreamSubscription, seqs: list[int]) -> None:
        """Send what a Lease got."""
        ...

    def give_back(self, subscription: StreamSubscription, seqs: list[int]) -> None:
        """Make leased deliveries available to other consumers."""
        ...


class _Line:
    """The consumers of one queue that have credit."""

    def __init__(self) -> None:
        self.waiting: deque[StreamSubscription] = deque()
        self.pending = 0
        """Leases without a result."""
        self.most = 1
        """Leases that may be pending."""
        self.dry = False
        """Whether the last Lease found fewer messages than it asked for."""
        self.woken = False
        """Whether a message may have arrived since the last Lease was appended."""
        self.scheduled = False


class Leasing:
    """The lines of all queues of this worker's partitions."""

    def __init__(
        self,
        leases: LeaseResults,
        publish: Callable[[RecordToSend], Awaitable[RecordMetadata]],
        answers: Callable[[Partition], bool],
    ) -> None:
        self._leases = leases
        self._publish = publish
        self._answers = answers
        self._lines: dict[str, _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, subscription: StreamSubscription) -> None:
        """Get messages for a subscription that has credit: there may be new ones."""
        line = self._wait(subscription)
        line.woken, line.dry = True, False

    def again(self, subscription: StreamSubscription) -> None:
        """Get messages for a subscription that has new credit, unless the queue is empty."""
        self._wait(subscription)

    def left(self, subscription: StreamSubscription) -> None:
        """Remove a subscription that has ended from its line."""
        line = self._lines.get(subscription.queue)
        if line is not None:
            self._schedule(subscription.queue, line)

    def close(self) -> None:
        """Cancel all Leases: the worker is stopping."""
        for task in self._tasks:
            task.cancel()

    def _wait(self, subscription: StreamSubscription) -> _Line:
        line = self._lines.setdefault(subscription.queue, _Line())
        if not subscription.leasing and subscription.credit and not subscription.taken:
            subscription.leasing = True
            line.waiting.append(subscription)
        self._schedule(subscription.queue, line)
        return line

    def _schedule(self, queue: str, line: _Line) -> None:
        """Look at a line soon, once for all consumers woken by the same message."""
        if not line.scheduled:
            line.scheduled = True
            asyncio.get_running_loop().call_soon(self._advance, queue, line)

    def _advance(self, queue: str, line: _Line) -> None:
        line.scheduled = False
        while line.waiting and not line.dry and line.pending < line.most:
            subscription = line.waiting.popleft()
            partition, credit = subscription.local, subscription.credit
            if not subscription.open or partition is None or not credit:
                subscription.leasing = False
                continue
            pause = subscription.connection.lease_pause()
            if pause:  # others in the line may have a client of their own
                asyncio.get_running_loop().call_later(
                    min(pause, LONGEST_PAUSE_SECONDS), self._return, subscription
                )
                continue
            line.pending += 1
            line.woken = False
            limit = min(credit, MOST_AT_ONCE)
            task = asyncio.get_running_loop().create_task(
                self._take(line, subscription, partition, limit)
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if line.dry:
            line.waiting = deque(s for s in line.waiting if s.open or self._leave(s))
        if not line.waiting and not line.pending and self._lines.get(queue) is line:
            del self._lines[queue]

    @staticmethod
    def _leave(subscription: StreamSubscription) -> bool:
        subscription.leasing = False
        return False

    async def _take(
        self, line: _Line, subscription: StreamSubscription, partition: Partition, limit: int
    ) -> None:
        connection: LeaseConnection = subscription.connection
        seqs: list[int] | None = None
        try:
            _, offset = await self._publish(connection.lease(subscription, limit))
            await partition.reached(offset, FOLD_SECONDS)
            if self._answers(partition):
                seqs = self._leases.take(partition.number, offset)
            if seqs:  # each becomes a dead letter after its last try
                connection.owe(views.last_tries(partition.rows, subscription.queue, seqs))
        except StreamsError as error:
            if not isinstance(error, Unavailable):
                logger.debug("cannot lease from queue %s: %s", subscription.queue, error)
        except Exception:
            logger.exception(
                "leasing from queue %s failed; trying again in %g s",
                subscription.queue,
                PAUSE_SECONDS,
            )
        line.pending -= 1
        subscription.leasing = False
        loop = asyncio.get_running_loop()
        if seqs is None:
            loop.call_later(PAUSE_SECONDS, self._try_again, subscription)
            return
        if subscription.open and subscription.local is partition:
            if seqs:
                connection.leased(subscription, seqs)
        elif seqs:
            connection.give_back(subscription, seqs)
        if len(seqs) == limit:
            line.dry, line.most = False, min(2 * line.most, MOST_LEASES)
        elif not line.woken:
            line.dry, line.most = True, 1
        if not seqs and subscription.open:
            self._wait(subscription)
        else:
            self._schedule(subscription.queue, line)

    def _return(self, subscription: StreamSubscription) -> None:
        """Let a consumer into its line again; it has counted as waiting until now."""
        subscription.leasing = False
        self._try_again(subscription)

    def _try_again(self, subscription: StreamSubscription) -> None:
        if subscription.open and subscription.local is not None:
            self.look(subscription)
        elif (line := self._lines.get(subscription.queue)) is not None:
            self._schedule(subscription.queue, line)  # for the others in it, or to drop it
