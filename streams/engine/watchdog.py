"""Ends a worker that has work but makes no progress, so that its supervisor restarts it.

`Watchdog` runs in the event loop and watches partitions.  One is stuck if it has something
to do (fold a record, write a checkpoint, recover) and has not moved for a long time although
Kafka is available.  `LoopGuard` is a thread that watches the event loop itself.

The worker does not end because Kafka is unavailable.  Time during which the process was
stopped or starved does not count.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mode import Service

from streams.engine.partition import Partition
from streams.engine.progress import State
from streams.engine.stacks import summary

logger = logging.getLogger(__name__)

EXIT_CODE = 70
"""Exit status of a worker that was ended by force (EX_SOFTWARE of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class Duty:
    """The pending work of one part of the worker, and its progress."""

    pending: bool
    """Whether anything is left to do."""
    mark: Hashable
    """Any value that changes with every step forward."""
    text: str
    """Its condition, for the log."""


@dataclass(slots=True)
class Patience:
    """Finds pending duties that have not moved for `limit` seconds; a pure state machine.

    Call `look` about every `interval` seconds.  A much longer interval counts as one: the
    process itself was stopped.
    """

    limit: float
    interval: float
    waited: dict[Hashable, float] = field(default_factory=dict)
    _marks: dict[Hashable, Hashable] = field(default_factory=dict)
    _last: float | None = None

    def look(self, now: float, duties: Mapping[Hashable, Duty], possible: bool) -> str | None:
        """Record how far the duties are; return a description of one that is stuck, or None.

        `possible` tells whether Kafka is available, so that progress can be expected.
        """
        passed = 0.0 if self._last is None else min(now - self._last, 2 * self.interval)
        self._last = now
        for gone in self.waited.keys() - duties.keys():
            del self.waited[gone]
            self._marks.pop(gone, None)
        for name, duty in duties.items():
            moved = self._marks.get(name) != duty.mark
            self._marks[name] = duty.mark
            if moved or not duty.pending or not possible:
                self.waited[name] = 0.0
                continue
            self.waited[name] = self.waited.get(name, 0.0) + passed
            if self.waited[name] >= self.limit:
                return f"{name} has made no progress for {self.waited[name]:.0f} s: {duty.text}"
        return None


class PartitionWatch:
    """Remembers the furthest point that one partition has reached.

    A partition that keeps failing and reopening makes no progress, even if it is busy.
    """

    __slots__ = ("_failures", "_folded", "_saved")

    def __init__(self) -> None:
        self._folded = (0, 0)
        self._saved = 0
        self._failures = 0

    def duties(self, partition: Partition, restored: int) -> dict[Hashable, Duty]:
        """Return what the partition has left to fold and to save, and how far it is.

        A partition that waits for a thread to be opened counts as moving while others are
        restored: `restored` is the sum of the offsets restored by all partitions here.
        """
        progress = partition.progress
        name = partition.spec.name
        folded = (
            max(self._folded[0], progress.position),
            max(self._folded[1], progress.restored_to),
        )
        if folded != self._folded:
            self._folded, self._failures = folded, progress.failures
        self._saved = max(self._saved, progress.checkpointed)
        # Within a long chunk, what it has written so far counts.
        inside: Hashable = partition.unfinished if progress.failures == self._failures else None
        if progress.queued:
            inside = restored
        ready = progress.state is State.READY
        # What an open transaction of somebody's producer holds cannot be restored or folded, and
        # nor can records that wait for another system to be translated.
        held = progress.state is State.RESTORING and partition.hold is not None
        held = held or progress.waits is not None
        lag, unsaved = partition.readable_end - progress.position, folded[0] - self._saved
        how = f"state {progress.state}, {progress.failures} failures"
        return {
            f"folding of {name}": Duty(
                not held and (not ready or lag > 0),
                (folded, inside),
                f"{how}, {lag} records behind",
            ),
            f"checkpoint of {name}": Duty(
                unsaved > 0 and (not ready or partition.saving),
                self._saved,
                f"{how}, {unsaved} records not saved",
            ),
        }


class Watchdog(Service):
    """See the module's docstring.

    `duties` returns what is to be done; `possible` asks Kafka, in a thread, whether it is
    available; `internals` returns what the worker is doing, for the log.  `verdict` becomes
    the reason why this worker must end.
    """

    INTERVAL_SECONDS = 2.0

    def __init__(
        self,
        duties: Callable[[], Mapping[Hashable, Duty]],
        possible: Callable[[], bool],
        limit: float,
        internals: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        super().__init__()
        self.limit = limit
        self.verdict: str | None = None
        self._patience = Patience(limit, self.INTERVAL_SECONDS)
        self._duties = duties
        self._possible = possible
        self._internals = internals

    @property
    def waited(self) -> Mapping[Hashable, float]:
        """For how many seconds each duty that is pending has not moved."""
        return {name: waited for name, waited in self._patience.waited.items() if waited}

    @Service.task
    async def _watch(self) -> None:
        patience = self._patience
        guard = LoopGuard(asyncio.get_running_loop(), self.limit)
        guard.start()
        try:
            while not self.should_stop and self.verdict is None:
                await self.sleep(self.INTERVAL_SECONDS)
                waiting = any(patience.waited.values())
                # Ask Kafka only when something might be stuck.
                possible = not waiting or await asyncio.to_thread(self._possible)
                self.verdict = patience.look(time.monotonic(), self._duties(), possible)
            if self.verdict is not None:
                logger.critical(
                    "this worker is stuck and will exit: %s; what its threads are doing: %s; "
                    "what its parts are doing: %s",
                    self.verdict,
                    summary(),
                    json.dumps(self._internals(), default=str),
                )
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
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._running = False

    def end_within(self, seconds: float) -> None:
        """End the process by force if it is still running after `seconds`."""
        self._end_at = time.monotonic() + seconds

    def _run(self) -> None:
        silent = 0.0
        while self._running:
            began = time.monotonic()
            time.sleep(self.TICK_SECONDS)
            if self._end_at is not None and time.monotonic() > self._end_at:
                self._end("it does not shut down")
            if time.monotonic() - began > 2 * self.TICK_SECONDS or self._answered:
                silent = 0.0  # the process was stopped, or the loop has answered
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
        # No logging: everything may be waiting for one of its locks.
        print(f"CRITICAL this worker ends by force: {why}", file=sys.__stderr__, flush=True)
        faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
        os._exit(EXIT_CODE)
