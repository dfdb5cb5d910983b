"""Shows progress: a bar on a terminal, plain lines elsewhere.

All of it goes to stderr, so that the output of a command can be piped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_SECONDS = 5.0
"""Time between two plain lines of one progress display."""

Report = Callable[[int], None]
"""Receives how much is done so far."""


def console() -> Console:
    """Return the console of stderr."""
    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print one line to stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Report]:
    """Show `what` while the body runs; the body reports how much of `total` is done."""
    if sys.stderr.isatty():
        with _bar(what, total) as report:
            yield report
    else:
        with _lines(what, total) as report:
            yield report


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Report]:
    counted = [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()] if total else []
    columns = [SpinnerColumn(), TextColumn("{task.description}"), *counted, TimeElapsedColumn()]
    with Progress(*columns, console=console()) as bars:
        task = bars.add_task(what, total=total)
        yield lambda done: bars.update(task, completed=done)
        bars.update(task, total=total or 1, completed=total or 1)


@contextmanager
def _lines(what: str, total: int | None) -> Iterator[Report]:
    began = time.monotonic()
    said = began
    latest = 0

    def report(done: int) -> None:
        nonlocal said, latest
        latest = done
        now = time.monotonic()
        if now - said >= PLAIN_SECONDS:
            said = now
            of = f" of {total:,} ({done / total:.0%})" if total else ""
            say(f"{what}: {done:,}{of}")

    yield report
    count = f" {latest:,}," if latest else ""
    say(f"{what}:{count} done in {time.monotonic() - began:.1f} s")
