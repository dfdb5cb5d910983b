"""Sends outputs that may wait at an even rate when there are many at once.

Ten thousand sessions that end together cause a hundred thousand Unbinds.  Sent at once,
they would delay every message published meanwhile, in the log and in every stage after it.
Spread over some seconds, they delay each message little.  Their order is kept, and a tracker
is not settled while any of its outputs wait.
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
"""Outputs per second of the whole worker while it keeps up with its records."""
SLOW_RATE: Final = 5_000
"""Outputs per second while it does not."""
BACKLOG: Final = 2_000
"""Records waiting to be folded; a worker with more does not keep up."""
BURST: Final = 500
"""Outputs that are sent at once after a quiet period."""
MOST_WAITING: Final = 50_000
"""Waiting outputs beyond which folds wait."""
_PAUSE_SECONDS: Final = 0.02
"""Time between two batches.  A few large batches are far cheaper than many small ones: what
is folded together becomes one record for each partition of the next stage."""


class SendPacer:
    """A token bucket in front of the output producer; used by the event loop alone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outputs: OutputProducer,
        backlog: Callable[[], int],
    ) -> None:
        """Prepare; `backlog` returns how many records wait to be folded by this worker."""
        self._backlog = backlog
        self._loop = loop
        self._outputs = outputs
        self._waiting: deque[tuple[Output, DeliveryTracker]] = deque()
        self._tokens = float(BURST)
        self._filled_at = time.monotonic()
        self._waiting_long = False
        self._timer: asyncio.TimerHandle | None = None
        self.room = asyncio.Event()
        """Set unless so many outputs wait that folds should pause."""
        self.room.set()

    def waiting(self) -> int:
        """Return how many outputs wait to be sent."""
        return len(self._waiting)

    def send(self, outputs: Iterable[Output], tracker: DeliveryTracker) -> None:
        """Send outputs, after those that wait already."""
        before = len(self._waiting)
        self._waiting.extend((output, tracker) for output in outputs)
        tracker.held += len(self._waiting) - before
        if self._timer is None:
            self._send()
        elif len(self._waiting) >= MOST_WAITING:
            self.room.clear()

    def close(self) -> None:
        """Drop what waits and stop."""
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
        batch = list(islice(waiting, int(self._tokens)))
        last = {(id(tracker), *output[:2]): output for output, tracker in batch}
        for output, tracker in batch:
            report = last[id(tracker), *output[:2]] is output
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
            self._timer = self._loop.call_later(_PAUSE_SECONDS, self._send)
