"""Sends outputs that may wait, evenly, when there are many at once.

Ten thousand sessions that end together ask for a hundred thousand Unbinds.  Sent as they
come, every message that is published meanwhile waits behind them in the log and in every
stage after it; spread over some seconds, each waits for few of them.  Order is kept, and
nothing counts as confirmed too early: a tracker is not settled while something of it waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from streams.engine.output import DeliveryTracker, OutputProducer
from streams.fold import Output

RATE: Final = 20_000
"""Outputs a second, of the whole worker, while it keeps up with its records."""
SLOW_RATE: Final = 5_000
"""Outputs a second while it does not."""
BACKLOG: Final = 2_000
"""Records that wait to be folded by this worker: with more it does not keep up."""
BURST: Final = 500
"""Outputs that are sent at once after a quiet time."""
MOST_WAITING: Final = 50_000
"""Beyond this, folds wait."""
_TURN_SECONDS: Final = 0.02
"""Few and large is cheaper by far than many and small: what is folded together is one record
for each partition in the next stage."""


class SendPacer:
    """A token bucket before the producer of outputs; used in the event loop alone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outputs: OutputProducer,
        backlog: Callable[[], int],
    ) -> None:
        """Prepare; `backlog` tells how many records wait to be folded by this worker."""
        self._backlog = backlog
        self._loop = loop
        self._outputs = outputs
        self._waiting: deque[tuple[Output, DeliveryTracker]] = deque()
        self._tokens = float(BURST)
        self._filled_at = time.monotonic()
        self._waiting_long = False
        self._timer: asyncio.TimerHandle | None = None
        self.room = asyncio.Event()
        """Set unless so much waits that no more should be made."""
        self.room.set()

    def waiting(self) -> int:
        """Outputs that wait for their turn."""
        return len(self._waiting)

    def send(self, outputs: Iterable[Output], tracker: DeliveryTracker) -> None:
        """Send outputs now, or later after those that wait already."""
        before = len(self._waiting)
        self._waiting.extend((output, tracker) for output in outputs)
        tracker.held += len(self._waiting) - before
        if self._timer is None:
            self._send()
        elif len(self._waiting) >= MOST_WAITING:
            self.room.clear()

    def close(self) -> None:
        """Send nothing any more."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _send(self) -> None:
        self._timer = None
        now = time.monotonic()
        rate = RATE if not self._waiting_long or self._backlog() < BACKLOG else SLOW_RATE
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        waiting, outputs = self._waiting, self._outputs
        turn = list(islice(waiting, int(self._tokens)))
        last = {(id(tracker), output.partition): output for output, tracker in turn}
        for output, tracker in turn:
            report = last[id(tracker), output.partition] is output
            if not tracker.dropped:
                if not outputs.send_now(output, tracker, report):
                    break  # the producer's queue is full
                self._tokens -= 1
            tracker.held -= 1
            waiting.popleft()
        if len(waiting) < MOST_WAITING:
            self.room.set()
        self._waiting_long = bool(waiting)
        if waiting:
            self._timer = self._loop.call_later(_TURN_SECONDS, self._send)
