"""Competing consumers on streams: who asks for a queue's next messages, and when.

All of them that compete for a queue are known to its owner, be it that other workers ask on
their clients' behalf.  Here they stand in line, so that a message that comes does not make
each of them append a Lease: one asks; while leases get all that they ask for, more at a time.
What a Lease gets is decided by the fold, in the order of the log, as for everybody else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from streams.errors import StreamsError, Unavailable
from streams.gateway.ports import Partition, RecordMetadata, RecordToSend
from streams.gateway.reads.lease_results import LeaseResults
from streams.gateway.streaming.subscription import StreamSubscription

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)

MOST_AT_ONCE: Final = 64
"""Messages that one Lease asks for."""
MOST_LEASES: Final = 64
"""Leases of one queue that are under way at once."""
FOLD_SECONDS: Final = 10.0
"""How long the fold may take to come to a Lease that Kafka has."""
PAUSE_SECONDS: Final = 1.0
"""After what time one that failed is tried again."""


class LeaseConnection(Protocol):
    """A client's connection, as far as leasing goes."""

    def lease(self, subscription: StreamSubscription, limit: int) -> RecordToSend:
        """Make the Lease of a subscription; raises as `EventParser.lease`."""
        ...

    def leased(self, subscription: StreamSubscription, seqs: list[int]) -> None:
        """Send what a Lease got."""
        ...

    def give_back(self, subscription: StreamSubscription, seqs: list[int]) -> None:
        """Let others have what was leased."""
        ...


class _Line:
    """Those who want messages of one queue, and have credit."""

    def __init__(self) -> None:
        self.waiting: deque[StreamSubscription] = deque()
        self.under_way = 0
        self.most = 1
        self.dry = False
        """Whether nothing is to be had, as far as is known."""
        self.woken = False
        """Whether something may have come since the last Lease was appended."""
        self.looking = False


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
        """Get messages for a subscription if it has credit: some may be there."""
        line = self._stand(subscription)
        line.woken, line.dry = True, False

    def again(self, subscription: StreamSubscription) -> None:
        """Get messages for a subscription that has credit anew, unless there are none."""
        self._stand(subscription)

    def left(self, subscription: StreamSubscription) -> None:
        """Take one that has ended out of its line."""
        line = self._lines.get(subscription.queue)
        if line is not None:
            self._schedule(subscription.queue, line)

    def close(self) -> None:
        """Forget all: the worker stops."""
        for task in self._tasks:
            task.cancel()

    def _stand(self, subscription: StreamSubscription) -> _Line:
        line = self._lines.setdefault(subscription.queue, _Line())
        if not subscription.leasing and subscription.credit and not subscription.taken:
            subscription.leasing = True
            line.waiting.append(subscription)
        self._schedule(subscription.queue, line)
        return line

    def _schedule(self, queue: str, line: _Line) -> None:
        """Look at a line, once for all that are woken by the same message."""
        if not line.looking:
            line.looking = True
            asyncio.get_running_loop().call_soon(self._go, queue, line)

    def _go(self, queue: str, line: _Line) -> None:
        line.looking = False
        while line.waiting and not line.dry and line.under_way < line.most:
            subscription = line.waiting.popleft()
            partition, credit = subscription.local, subscription.credit
            if not subscription.open or partition is None or not credit:
                subscription.leasing = False
                continue
            line.under_way += 1
            line.woken = False
            limit = min(credit, MOST_AT_ONCE)
            task = asyncio.get_running_loop().create_task(
                self._take(line, subscription, partition, limit)
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if line.dry:
            line.waiting = deque(s for s in line.waiting if s.open or self._leaves(s))
        if not line.waiting and not line.under_way and self._lines.get(queue) is line:
            del self._lines[queue]

    @staticmethod
    def _leaves(subscription: StreamSubscription) -> bool:
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
        except StreamsError as error:
            if not isinstance(error, Unavailable):
                logger.debug("a lease for a stream: %s", error)
        except Exception:
            logger.exception("a lease for a stream failed")
        line.under_way -= 1
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
            self._stand(subscription)
        else:
            self._schedule(subscription.queue, line)

    def _try_again(self, subscription: StreamSubscription) -> None:
        if subscription.open and subscription.local is not None:
            self.look(subscription)
        elif (line := self._lines.get(subscription.queue)) is not None:
            self._schedule(subscription.queue, line)  # others stand in it, or it is to be forgotten
