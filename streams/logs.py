"""The log format of a worker: text for people, or one JSON object per line for machines.

Faust, mode and aiokafka log every step at INFO.  They are limited to WARNING unless the level
is DEBUG, and messages that every rebalance causes are dropped.  Lines that repeat are counted
instead (see `streams.repeats`).  Knows Python's logging, nothing
of the worker.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

import orjson

from streams.repeats import RepeatFilter

TEXT: Final = "text"
JSON: Final = "json"
FORMATS: Final = (TEXT, JSON)

_NOISY: Final = ("faust", "mode", "aiokafka", "kafka", "asyncio", "aiohttp")
_IN_EVERY_REBALANCE: Final = (
    "NotLeaderForPartitionError",
    "because it is rebalancing",
    "GroupCoordinatorNotAvailableError",
    "NotCoordinatorForGroupError",
    "Topic and partition metadata is not available",
)


class TextFormatter(logging.Formatter):
    """`2026-11-24T23:14:27.908Z INFO streams.gateway.gateway: message`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time in UTC, in the format of RFC 3339."""
        return _utc(record)


class JsonFormatter(logging.Formatter):
    """One object per line: `time`, `level`, `logger`, `message`, `worker`, maybe `exception`."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        content = {
            "time": _utc(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _clean(record.getMessage()),
            "worker": self._worker,
        }
        if record.exc_info:
            content["exception"] = _clean(self.formatException(record.exc_info))
        return orjson.dumps(content).decode()


class ExpectedNoise(logging.Filter):
    """Drops messages of services that start or stop, and of every rebalance."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log the record."""
        if record.name.startswith(("aiokafka", "kafka")):
            message = record.getMessage()
            return not any(text in message for text in _IN_EVERY_REBALANCE)
        # mode logs the start and stop of each service under the service's own name.
        return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


def logging_config(level: str, form: str, worker: str, file: str | None = None) -> dict[str, Any]:
    """Return a configuration for `logging.config.dictConfig`.

    Args:
        level: name of the lowest level that is logged.
        form: `TEXT` or `JSON`.
        worker: name of this worker in each line of JSON.
        file: path of the log file; stderr without one.
    """
    handler: dict[str, Any] = {"formatter": "chosen"}
    if file is None:
        handler |= {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
    else:
        handler |= {"class": "logging.FileHandler", "filename": file}
    if level == "DEBUG":
        loggers = {}
    else:
        handler["filters"] = ["expected", "repeats"]
        quiet = max(logging.WARNING, logging.getLevelNamesMapping()[level])
        loggers = {name: {"level": quiet} for name in _NOISY}
    chosen = {"()": JsonFormatter, "worker": worker} if form == JSON else {"()": TextFormatter}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": chosen},
        "filters": {"expected": {"()": ExpectedNoise}, "repeats": {"()": RepeatFilter}},
        "handlers": {"default": handler},
        "loggers": loggers,
        "root": {"level": level, "handlers": ["default"]},
    }


def _utc(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _clean(text: str) -> str:
    """Escape what cannot be written as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
