"""What a worker is doing and waiting for, for whoever must find out why it stands still."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from streams.engine.stacks import thread_stacks

if TYPE_CHECKING:
    from streams.engine.engine import Engine
    from streams.engine.transport import Consumer


def internals(engine: Engine) -> dict[str, Any]:
    """Return what `Engine.internals` promises."""
    runtime = engine.running
    return {
        "group": _group(engine),
        "source_reader": runtime.source.condition() if runtime else None,
        "outputs": {
            "unconfirmed": runtime.outputs.queued() if runtime else 0,
            "paced": runtime.pacer.waiting() if runtime else 0,
        },
        "compute_lock": engine.compute_lock.locked(),
        "waited": {str(duty): round(seconds, 1) for duty, seconds in engine.waited.items()},
        "partitions": [
            {"table": partition.table, "partition": partition.number, **partition.internals()}
            for partition in engine.open_partitions()
        ],
        "threads": thread_stacks(),
    }


def _group(engine: Engine) -> dict[str, Any] | None:
    consumer = cast("Consumer | None", getattr(engine.app, "_consumer", None))
    if consumer is None:
        return None
    age = time.monotonic() - consumer.last_heartbeat
    return {
        "heartbeat_seconds_ago": round(age, 1) if age < float("inf") else None,
        "session_timeout_seconds": engine.options.session_timeout_seconds,
        "missed_generation": consumer.missed_generation,
        "joining": consumer.joining,
        "flow_active": bool(consumer.flow_active),
    }
