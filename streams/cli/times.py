"""Parameter types for times and log positions: 15m, 2026-08-20T18:00Z, an offset."""

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
    """Return the seconds of `90s`, `15m`, `2h` or `1d`; None for any other text."""
    found = _SPAN.fullmatch(text.strip())
    return None if found is None else float(found[1]) * _UNIT_SECONDS[found[2]]


def date(text: str) -> datetime | None:
    """Return a time in ISO 8601, local if it has no zone; None for any other text."""
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError, OSError):
        return None


class SecondsType(click.ParamType):
    """A duration: a number of seconds, or a text such as 15m."""

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
    """A position in the log: an offset, a duration before now, or a time."""

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
                f"{value!r}: give an offset, or 90s, 15m, 2h or 1d, or a time such as "
                "2026-08-20T18:00Z",
                param,
                ctx,
            )
        return at


class FutureTimeType(click.ParamType):
    """A time in the future: a duration from now, or a time."""

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
                f"{value!r}: give 90s, 15m, 2h or 1d from now, or a time such as 2026-08-20T18:00Z",
                param,
                ctx,
            )
        return at


SECONDS = SecondsType()
POSITION = PositionType()
FUTURE_TIME = FutureTimeType()
