"""What the threads and tasks of this process are doing: their innermost calls, as text."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import PurePath
from types import CodeType, FrameType
from typing import Any

DEPTH = 6
"""Calls shown of each thread and task."""


def thread_stacks(depth: int = DEPTH) -> list[dict[str, Any]]:
    """Return the innermost calls of every thread; for any thread.

    Returns:
        `threads` (names of the threads that are at the same place) and `at` (calls such as
        ``source.py:171 _read``, the innermost first), sorted by name.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found: dict[tuple[str, ...], list[str]] = {}
    for ident, frame in sys._current_frames().items():
        calls = tuple(_calls(frame, depth))
        found.setdefault(calls, []).append(names.get(ident, f"thread {ident}"))
    grouped = sorted((sorted(threads), calls) for calls, threads in found.items())
    return [{"threads": threads, "at": list(calls)} for threads, calls in grouped]


def task_stack(task: asyncio.Task[Any], depth: int = DEPTH) -> list[str]:
    """Return the innermost calls that a task waits in, the innermost first."""
    calls: list[str] = []
    waiting: Any = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is None:
            break
        calls.append(_call(frame.f_code, frame.f_lineno))
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return calls[::-1][:depth]


def summary(depth: int = 3) -> str:
    """Return the calls of every thread in one line, for a log."""
    return "; ".join(
        f"{', '.join(row['threads'])}: {' < '.join(row['at'])}" for row in thread_stacks(depth)
    )


def _calls(frame: FrameType | None, depth: int) -> Iterator[str]:
    while frame is not None and depth:
        yield _call(frame.f_code, frame.f_lineno)
        frame, depth = frame.f_back, depth - 1


def _call(code: CodeType, line: int | None) -> str:
    path = PurePath(code.co_filename)
    return f"{path.parent.name}/{path.name}:{line or 0} {code.co_name}"
