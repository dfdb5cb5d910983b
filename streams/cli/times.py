"""Times and places of the log as one types them: 15m, 2026-08-20T18:00Z, an offset."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import click

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_SECONDS = 100 * 366 * 86400


def span(text: str) -> float | None:
    """Return how many seconds `90s`, `15m`, `2h` or `1d` are; None if it is no span of time."""
    found = _SPAN.fullmatch(text.strip())
    return None if found is None else float(found[1]) * _UNIT_SECONDS[found[2]]


def date(text: str) -> datetime | None:
    """Return a time as in 2026-08-20T18:00Z, local where it names no zone; None if it is none."""
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


class SecondsType(click.ParamType):
    """A span of time in seconds: a number, or as in 15m."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return seconds."""
        if not isinstance(value, str):
            return value
        seconds = span(value)
        if seconds is None:
            seconds = span(f"{value}s")
        if seconds is None or seconds > _MOST_SECONDS:
            self.fail(f"{value!r}: give seconds, or 90s, 15m, 2h or 1d", param, ctx)
        return seconds


class PositionType(click.ParamType):
    """A place in the log: an offset, or a time ago or as a date."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return an offset, or a datetime."""
        if not isinstance(value, str):
            return value
        if re.fullmatch(r"\d{1,18}", value, re.ASCII):
            return int(value)
        seconds = span(value)
        if seconds is not None and seconds <= _MOST_SECONDS:
            return datetime.fromtimestamp(time.time() - seconds, UTC)
        at = date(value)
        if at is None:
            self.fail(
                f"{value!r}: give an offset, or 90s, 15m, 2h or 1d, or a time as in "
                "2026-08-20T18:00Z",
                param,
                ctx,
            )
        return at


class FutureTimeType(click.ParamType):
    """A time to come: a span from now, or a date."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a datetime."""
        if not isinstance(value, str):
            return value
        seconds = span(value)
        if seconds is not None and seconds <= _MOST_SECONDS:
            return datetime.fromtimestamp(time.time() + seconds, UTC)
        at = date(value)
        if at is None:
            self.fail(
                f"{value!r}: give 90s, 15m, 2h or 1d from now, or a time as in 2026-08-20T18:00Z",
                param,
                ctx,
            )
        return at


SECONDS = SecondsType()
POSITION = PositionType()
FUTURE_TIME = FutureTimeType()
