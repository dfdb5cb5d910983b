"""Log lines that repeat: a cause is logged once, then how often, then that it is over.

A broker that is away makes every client of a worker report the same failure at every attempt.
`Repeats` decides which lines to log; it is a state machine without a clock.  `RepeatFilter`
puts it in front of a logging handler.  Knows Python's logging, nothing of the worker.

Two lines have the same cause if logger, level and text are equal, numbers aside: ports,
offsets and partitions differ from one attempt to the next.  When many lines of one log call
differ in more than numbers, in names of queues for example, they count as one cause.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

REPEATING: Final = {"repeating": True}
"""`extra=` of a log call whose lines are counted although their level is INFO."""

FIRST_SUMMARY_SECONDS: Final = 60.0
"""Time from the first line of a cause to its first summary; it doubles with each summary."""
LONGEST_SUMMARY_SECONDS: Final = 3600.0
OVER_SECONDS: Final = 45.0
"""A cause is over when it has not occurred for so long; longer than any pause between retries."""
VARIANTS: Final = 4
"""How many lines of one cause are logged that differ in their numbers."""
CAUSES_OF_CALL: Final = 20
"""Causes of one log call that are told apart at a time; all further lines of it are one cause."""
MAX_CAUSES: Final = 500
"""Causes that are remembered; the one that was seen least recently is forgotten."""

_NUMBERS: Final = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]*\d[0-9a-fA-F]*")
"""Numbers, also hexadecimal ones such as ids."""


class Cause(NamedTuple):
    """What lines have in common that are logged once."""

    logger: str
    level: int
    call: str
    """The format string of the log call."""
    text: str
    """The message with every number replaced by 0; empty for all further lines of the call."""


@dataclass(slots=True)
class Count:
    """The lines of one cause since it began."""

    first: float
    last: float
    due: float
    """When the next summary is due."""
    wait: float
    """Time between the last summary and the next one, in seconds."""
    text: str
    """The message of the last line that was not logged."""
    logged: set[str] = field(default_factory=set)
    unlogged: int = 0
    """Lines that were not logged since the last summary."""
    total: int = 0
    """All lines that were not logged."""


class Summary(NamedTuple):
    """A line to log about a cause: it goes on, or it is over."""

    logger: str
    level: int
    text: str


class Repeats:
    """Counts lines by cause; times are seconds on any one clock."""

    def __init__(self) -> None:
        self._counts: dict[Cause, Count] = {}
        self._calls: Counter[str] = Counter()
        """Causes in `_counts` by log call."""

    def is_new(self, logger: str, level: int, call: str, text: str, now: float) -> bool:
        """Count a line; return whether it must be logged.

        Args:
            call: the format string of the log call.
            text: the message.
            now: the time, in seconds.
        """
        cause = Cause(logger, level, call, _NUMBERS.sub("0", text))
        if cause not in self._counts and self._calls[call] >= CAUSES_OF_CALL:
            cause = cause._replace(text="")
        count = self._forget(cause)
        if count is not None and now - count.last >= OVER_SECONDS and not count.unlogged:
            count = None
        if count is None:
            due = now + FIRST_SUMMARY_SECONDS
            count = Count(now, now, due, FIRST_SUMMARY_SECONDS, text)
        self._counts[cause] = count  # at the end: the most recent one
        self._calls[call] += 1
        if len(self._counts) > MAX_CAUSES:
            self._forget(next(iter(self._counts)))
        count.last = now
        if text not in count.logged and len(count.logged) < VARIANTS:
            count.logged.add(text)
            return True
        count.text = text
        count.unlogged += 1
        count.total += 1
        return False

    def summaries(self, now: float) -> list[Summary]:
        """Return the lines that are due; forget causes that are over."""
        lines = []
        ended: list[Count] = []
        for cause, count in list(self._counts.items()):
            if now - count.last >= OVER_SECONDS:
                self._forget(cause)
                if count.total:
                    ended.append(count)
            elif now >= count.due and count.unlogged and now - count.last < OVER_SECONDS / 2:
                lines.append(
                    Summary(
                        cause.logger,
                        cause.level,
                        f"{count.unlogged} more in the last {_seconds(count.wait)}, "
                        f"for {_seconds(now - count.first)} now: {count.text}",
                    )
                )
                count.unlogged = 0
                count.wait = min(2 * count.wait, LONGEST_SUMMARY_SECONDS)
                count.due = now + count.wait
        if ended:
            lines.append(_over(ended))
        return lines

    def _forget(self, cause: Cause) -> Count | None:
        count = self._counts.pop(cause, None)
        if count is not None:
            self._calls[cause.call] -= 1
            if not self._calls[cause.call]:
                del self._calls[cause.call]
        return count

    def due(self) -> float | None:
        """Return when `summaries` may have something to say next; None if nothing is counted."""
        return min(
            (
                min(count.last + OVER_SECONDS, count.due)
                if count.unlogged
                else count.last + OVER_SECONDS
                for count in self._counts.values()
            ),
            default=None,
        )


def _over(ended: list[Count]) -> Summary:
    most = max(ended, key=lambda count: count.total)
    took = max(count.last for count in ended) - min(count.first for count in ended)
    total = sum(count.total for count in ended)
    others = f" and {len(ended) - 1} other messages" if len(ended) > 1 else ""
    return Summary(
        __name__,
        logging.INFO,
        f"no longer repeated, after {_seconds(took)} and {total} lines that were not logged: "
        f"{most.text}{others}",
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class RepeatFilter(logging.Filter):
    """Drops repeated lines of the handler that it filters, and logs summaries in their place.

    Counted are lines of libraries from WARNING on, those of `streams` from WARNING on, and
    those marked `REPEATING`.  A thread, which only lives while something is counted, logs the
    summaries.
    """

    def __init__(self) -> None:
        super().__init__()
        self._repeats = Repeats()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log the record."""
        if getattr(record, "summary", False):
            return True
        marked: Any = getattr(record, "repeating", False)
        if record.levelno < logging.WARNING and not marked:
            return True
        text = record.getMessage()
        with self._lock:
            new = self._repeats.is_new(
                record.name, record.levelno, str(record.msg), text, time.monotonic()
            )
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._summarise, name="repeated lines", daemon=True
                )
                self._thread.start()
        return new

    def _summarise(self) -> None:
        while True:
            with self._lock:
                due = self._repeats.due()
                if due is None:
                    self._thread = None
                    return
            time.sleep(max(1.0, due - time.monotonic()))
            with self._lock:
                lines = self._repeats.summaries(time.monotonic())
            for line in lines:
                logging.getLogger(line.logger).log(line.level, line.text, extra={"summary": True})
