"""The figures of a run: counters, recent rates, and their display."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.live import Live
from rich.table import Table

from streams.operate.progress import console, say

WINDOW_SECONDS = 5.0
"""Rates are means over this time."""
PLAIN_SECONDS = 5.0
LATENCIES = 10_000
"""How many recent latencies the live display uses."""


@dataclass(slots=True)
class Figures:
    """Counters of one run, from its start."""

    began: float = field(default_factory=time.monotonic)
    changes: int = 0
    """Binds and unbinds sent."""
    messages: int = 0
    """Messages published and confirmed."""
    deliveries: int = 0
    """Deliveries that the fold `route` has sent."""
    read: int = 0
    """Deliveries that online readers received."""
    late: int = 0
    """Deliveries that online readers should have received some seconds ago."""
    duplicated: int = 0
    lag: int | None = 0
    """Records that are not folded yet; None while some partitions have no answer."""
    silent: int = 0
    """Partitions of tables of which no worker tells the lag."""
    worst_lag: int = 0
    worker_cpu_seconds: float = 0.0
    unanswered: int = 0
    """Requests that had to be repeated or failed."""
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))

    def note_lag(self, lags: Sequence[int], partitions: int) -> None:
        """Take the lags of those partitions of tables, of all, that a worker tells."""
        self.silent = max(0, partitions - len(lags))
        self.lag = None if self.silent else sum(lags)
        self.worst_lag = max(self.worst_lag, sum(lags))

    def shown_lag(self) -> str:
        """Return the lag as it is displayed."""
        if self.lag is None:
            return f"unknown ({self.silent} partitions have no answer)"
        return f"{self.lag:,} records"

    def percentile(self, share: float) -> float | None:
        """Return a percentile of the latencies in seconds, None when there are none."""
        return percentile(self.latencies, share)


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the value below which `share` (0 to 1) of the values lie; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class _Moment:
    at: float
    changes: int
    messages: int
    deliveries: int
    cpu: float


class Rates:
    """Rates of a run's figures over the last seconds."""

    def __init__(self, figures: Figures) -> None:
        """Start now."""
        self._figures = figures
        self._moments: deque[_Moment] = deque()
        self.update()

    def update(self) -> None:
        """Record the present figures."""
        now = time.monotonic()
        f = self._figures
        self._moments.append(
            _Moment(now, f.changes, f.messages, f.deliveries, f.worker_cpu_seconds)
        )
        while len(self._moments) > 2 and now - self._moments[1].at >= WINDOW_SECONDS:
            self._moments.popleft()

    def rows(self) -> list[tuple[str, str]]:
        """Return the names and values to display."""
        f = self._figures
        old, new = self._moments[0], self._moments[-1]
        seconds = max(new.at - old.at, 1e-9)
        changes = (new.changes - old.changes) / seconds
        messages = (new.messages - old.messages) / seconds
        cpu = (new.cpu - old.cpu) / seconds
        return [
            ("time", f"{new.at - f.began:,.0f} s"),
            ("events/s", f"{changes + messages:,.0f}"),
            ("churn/s", f"{changes:,.0f}"),
            ("messages/s", f"{messages:,.1f}"),
            ("deliveries/s", f"{(new.deliveries - old.deliveries) / seconds:,.0f}"),
            ("lag", f.shown_lag()),
            ("latency p50", milliseconds(f.percentile(0.50))),
            ("latency p99", milliseconds(f.percentile(0.99))),
            ("lost", f"{f.late:,}"),
            ("duplicated", f"{f.duplicated:,}"),
            ("worker CPU", f"{cpu:.0%}"),
        ]


class Board:
    """Displays figures: a live table on a terminal, occasional lines elsewhere."""

    def __init__(self, title: str) -> None:
        """Create a board; it displays nothing outside its context."""
        self._title = title
        self._live: Live | None = None
        self._said = time.monotonic()

    def __enter__(self) -> Board:
        """Start the display."""
        if sys.stderr.isatty():
            self._live = Live(console=console(), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Remove the live table."""
        if self._live is not None:
            self._live.stop()

    def show(self, rows: Sequence[tuple[str, str]]) -> None:
        """Display these rows from now on."""
        if self._live is not None:
            self._live.update(table(self._title, rows))
        elif time.monotonic() - self._said >= PLAIN_SECONDS:
            self._said = time.monotonic()
            say("  ".join(f"{name} {value}" for name, value in rows))


def table(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    """Return a table of names and values."""
    drawn = Table(title=title, title_justify="left", show_header=False)
    drawn.add_column(style="bold")
    drawn.add_column(justify="right")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def milliseconds(seconds: float | None) -> str:
    """Return a duration in milliseconds, "-" for None."""
    return "-" if seconds is None else f"{seconds * 1000:,.0f} ms"
