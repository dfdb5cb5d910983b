"""How a worker logs: as text for people, or one JSON object a line for machines.

Quiet by default.  Below us, Faust, mode and aiokafka tell at INFO of each step they take;
they are heard from WARNING on, unless DEBUG is asked for, and not when they complain of what
happens in every rebalance.  Knows Python's logging, nothing of the worker.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Final

import orjson

TEXT: Final = "text"
JSON: Final = "json"
FORMATS: Final = (TEXT, JSON)

_LOUD: Final = ("faust", "mode", "aiokafka", "kafka", "asyncio", "aiohttp")
_OF_EVERY_REBALANCE: Final = (
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
        """Return the time in UTC, as RFC 3339 has it."""
        return _utc(record)


class JsonFormatter(logging.Formatter):
    """One object a line: `time`, `level`, `logger`, `message`, `worker`; `exception` if any."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
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


class Expected(logging.Filter):
    """Drops what is no news: services that start and stop, and the noise of a rebalance."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is worth a line."""
        if record.name.startswith(("aiokafka", "kafka")):
            message = record.getMessage()
            return not any(text in message for text in _OF_EVERY_REBALANCE)
        # mode has each service say that it starts and stops, in the service's own name.
        return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


def logging_config(level: str, form: str, worker: str, file: str | None = None) -> dict[str, Any]:
    """Return what `logging.config.dictConfig` takes.

    `worker` names this worker in each line of JSON; without a `file`, stderr is written to.
    """
    handler: dict[str, Any] = {"formatter": "chosen"}
    if file is None:
        handler |= {"class": "logging.StreamHandler", "stream": "ext://sys.stderr"}
    else:
        handler |= {"class": "logging.FileHandler", "filename": file}
    if level == "DEBUG":
        loggers = {}
    else:
        handler["filters"] = ["expected"]
        quiet = max(logging.WARNING, logging.getLevelNamesMapping()[level])
        loggers = {name: {"level": quiet} for name in _LOUD}
    chosen = {"()": JsonFormatter, "worker": worker} if form == JSON else {"()": TextFormatter}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"chosen": chosen},
        "filters": {"expected": {"()": Expected}},
        "handlers": {"default": handler},
        "loggers": loggers,
        "root": {"level": level, "handlers": ["default"]},
    }


def _utc(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _clean(text: str) -> str:
    """Leave out what cannot be written as UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
