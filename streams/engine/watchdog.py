"""Ends a worker that makes no progress although there is work: its supervisor restarts it.

Two eyes.  `Watchdog` runs in the event loop and looks at partitions: does one of them owe
something (a record to fold, a checkpoint to write, its own recovery), and has it not moved
for long although Kafka could take and give everything?  `LoopGuard` is a thread that looks
at the event loop itself.

A Kafka that is away is no reason to end: it is waited for.  Time in which this process was
stopped or starved does not count either.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from mode import Service

from streams.engine.partition import Partition, State

logger = logging.getLogger(__name__)

EXIT_CODE = 70
"""Of a worker that had to end itself the hard way (EX_SOFTWARE of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class Duty:
    """What one part of the worker has to do, and how far it is."""

    owes: bool
    """Whether there is something left to do."""
    mark: Hashable
    """Anything that changes with each step forward."""
    text: str
    """What it is busy with, for the log."""


@dataclass(slots=True)
class Patience:
    """Finds what owes something and has not moved for `limit` seconds; a pure state machine.

    `look` is to be called every `interval` seconds or so.  An interval that took much longer
    counts as one interval: then this process itself stood still.
    """

    limit: float
    interval: float
    waited: dict[Hashable, float] = field(default_factory=dict)
    _marks: dict[Hashable, Hashable] = field(default_factory=dict)
    _last: float | None = None

    def look(self, now: float, duties: Mapping[Hashable, Duty], possible: bool) -> str | None:
        """Take note of how things are; return what is stuck, in words, or None.

        `possible` tells whether Kafka lets anything go forward at all.
        """
        passed = 0.0 if self._last is None else min(now - self._last, 2 * self.interval)
        self._last = now
        for gone in self.waited.keys() - duties.keys():
            del self.waited[gone]
            self._marks.pop(gone, None)
        for name, duty in duties.items():
            moved = self._marks.get(name) != duty.mark
            self._marks[name] = duty.mark
            if moved or not duty.owes or not possible:
                self.waited[name] = 0.0
                continue
            self.waited[name] = self.waited.get(name, 0.0) + passed
            if self.waited[name] >= self.limit:
                return f"{name} has made no progress for {self.waited[name]:.0f} s: {duty.text}"
        return None


class Progress:
    """The furthest that one partition has got.

    A partition that fails and is opened again and again gets no further, however busy it is.
    """

    __slots__ = ("_failures", "_folded", "_saved")

    def __init__(self) -> None:
        self._folded = (0, 0)
        self._saved = 0
        self._failures = 0

    def duties(self, partition: Partition, restored: int) -> dict[Hashable, Duty]:
        """Say what the partition owes, and how far it is: folding, and saving.

        One that waits for its turn to be opened goes forward as the others do: `restored` is
        how far all partitions of the worker together have been brought back.
        """
        name = f"{partition.table}/{partition.number}"
        folded = (
            max(self._folded[0], partition.position),
            max(self._folded[1], partition.restored_to),
        )
        if folded != self._folded:
            self._folded, self._failures = folded, partition.failures
        self._saved = max(self._saved, partition.checkpointed)
        # Within a chunk that takes long, what it has written so far counts.
        inside: Hashable = partition.unfinished if partition.failures == self._failures else None
        if partition.queued:
            inside = restored
        ready = partition.state is State.READY
        lag, unsaved = partition.source_end - partition.position, folded[0] - self._saved
        how = f"it is {partition.state}, failed {partition.failures} times"
        return {
            f"folding of {name}": Duty(
                not ready or lag > 0, (folded, inside), f"{how}, {lag} records behind"
            ),
            f"checkpoint of {name}": Duty(
                unsaved > 0 and (not ready or partition.saving),
                self._saved,
                f"{how}, {unsaved} records not saved",
            ),
        }


class Watchdog(Service):
    """See the module's docstring.

    `duties` tells what is to be done; `possible` asks Kafka, in a thread, whether anything
    can be.  `verdict` says why this worker must end, once that is so.
    """

    INTERVAL_SECONDS = 2.0

    def __init__(
        self,
        duties: Callable[[], Mapping[Hashable, Duty]],
        possible: Callable[[], bool],
        limit: float,
    ) -> None:
        super().__init__()
        self.limit = limit
        self.verdict: str | None = None
        self._duties = duties
        self._possible = possible

    @Service.task
    async def _watch(self) -> None:
        patience = Patience(self.limit, self.INTERVAL_SECONDS)
        guard = LoopGuard(asyncio.get_running_loop(), self.limit)
        guard.start()
        try:
            while not self.should_stop and self.verdict is None:
                await self.sleep(self.INTERVAL_SECONDS)
                waiting = any(patience.waited.values())
                # Kafka is asked only when something might be stuck.
                possible = not waiting or await asyncio.to_thread(self._possible)
                self.verdict = patience.look(time.monotonic(), self._duties(), possible)
            if self.verdict is not None:
                logger.critical("this worker is stuck and ends itself: %s", self.verdict)
                guard.end_within(20.0)
        finally:
            if self.verdict is None:
                guard.stop()


class LoopGuard:
    """A thread that ends the process when its event loop stands still for `limit` seconds."""

    TICK_SECONDS = 1.0

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: float) -> None:
        self._loop = loop
        self._limit = limit
        self._answered = True
        self._running = True
        self._end_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="loop guard", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._running = False

    def end_within(self, seconds: float) -> None:
        """End the process by force unless it has ended by itself in so many seconds."""
        self._end_at = time.monotonic() + seconds

    def _run(self) -> None:
        silent = 0.0
        while self._running:
            began = time.monotonic()
            time.sleep(self.TICK_SECONDS)
            if self._end_at is not None and time.monotonic() > self._end_at:
                self._end("it does not end by itself")
            if time.monotonic() - began > 2 * self.TICK_SECONDS or self._answered:
                silent = 0.0  # the whole process stood still, or the loop has answered
            else:
                silent += self.TICK_SECONDS
            if silent >= self._limit:
                self._end(f"its event loop has stood still for {silent:.0f} s")
            if self._answered:
                self._answered = False
                try:
                    self._loop.call_soon_threadsafe(self._answer)
                except RuntimeError:  # closed: the worker has ended
                    return

    def _answer(self) -> None:
        self._answered = True

    def _end(self, why: str) -> None:
        # No logging: a lock of it may be what everything waits for.
        print(f"CRITICAL this worker ends itself: {why}", file=sys.__stderr__, flush=True)
        faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
        os._exit(EXIT_CODE)
