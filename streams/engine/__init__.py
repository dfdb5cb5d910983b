"""The engine: exact, chunked tables for Faust apps.

A *fold* turns the records of a topic into rows of a table and into records for other topics.
The engine drives folds below Faust's per-event API: it reads records in chunks, keeps changed
rows in an overlay, and checkpoints rows and source offset together in a transaction of the
table's changelog, so that a crash neither loses nor repeats a record.  It plugs into Faust's
own extension points (transport, store, table, table manager), knows Kafka and RocksDB, and
does not know what rows mean.

The names below are the public ones; `streams.engine.testing` is the test kit for folds.
They are loaded when they are first used, so that code that needs no Faust does not load it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.engine.application import App, Table
    from streams.engine.options import EngineOptions
    from streams.fold import BadRecord, Fold, Output, Record, Rows
    from streams.kafka.topics import Topic

__all__ = [
    "App",
    "BadRecord",
    "EngineOptions",
    "Fold",
    "Output",
    "Record",
    "Rows",
    "Table",
    "Topic",
]

_HOMES = {
    "App": "streams.engine.application",
    "Table": "streams.engine.application",
    "EngineOptions": "streams.engine.options",
    "Topic": "streams.kafka.topics",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "streams.fold")), name)
