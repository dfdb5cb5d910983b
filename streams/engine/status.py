"""What a worker reports of itself: the state of its partitions, and figures for metrics."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from streams.engine.readiness import not_ready

if TYPE_CHECKING:
    from streams.engine.engine import Engine
    from streams.engine.partition import Partition


def status(engine: Engine) -> dict[str, Any]:
    """Return what `Engine.status` promises, ready for JSON."""
    rows = []
    for table in engine.tables:
        for number in range(engine.options.partitions):
            row: dict[str, Any] = {
                "table": table,
                "partition": number,
                "owner": engine.owner(table, number),
            }
            partition = engine.partition(table, number)
            if partition is not None:
                row |= {**_state(partition), "lost": engine.lost_source(partition)}
            rows.append(row)
    mine = {(row["table"], row["partition"]): row for row in rows if "state" in row}
    reason = not_ready(engine.condition, engine.assigned, mine)
    return {
        "app": engine.app_id,
        "url": str(engine.app.conf.canonical_url),
        "pid": os.getpid(),
        "started_at": int(engine.started_at * 1000),
        "native": engine.core is not None,
        "generation": engine.app.consumer_generation_id,
        "rebalancing": bool(engine.app.rebalancing),
        "ready": reason is None,
        "not_ready": reason,
        "failure": engine.failure,
        "standbys": sorted(f"{table}/{number}" for table, number in engine.standbys),
        "outputs_queued": engine.outputs_queued(),
        "holds": [
            {"topic": topic, "partition": number, **hold.report()}
            for (topic, number), hold in sorted(engine.holds.items())
        ],
        "partitions": rows,
    }


def _state(partition: Partition) -> dict[str, Any]:
    progress, end = partition.progress, partition.source_end
    last, hold = progress.last_checkpoint, partition.hold
    return {
        "state": str(progress.state),
        "ready": partition.ready,
        "position": progress.position,
        "end": end,
        "lag": max(0, end - progress.position),
        "lag_seconds": round(partition.lag_seconds, 3),
        "held": None if hold is None else hold.report(),
        "level": partition.level,
        "failure": progress.failure,
        "needs": progress.needs,
        "waits": progress.waits,
        "restored": round(progress.restored, 4),
        "checkpointed": progress.checkpointed,
        "restored_rows": progress.restored_rows,
        "folded": progress.folded,
        "dead_letters": progress.dead_letters,
        "failures": progress.failures,
        "checkpoint_seconds": last.seconds if last else None,
        "checkpoint_rows": last.rows if last else None,
        "overlay_rows": partition.overlay_rows,
    }


def metrics(engine: Engine) -> dict[str, Any]:
    """Return what `Engine.metrics` promises."""
    runtime = engine.running
    return {
        "partitions": [
            {
                "table": partition.table,
                "partition": partition.number,
                "checkpoints": partition.progress.checkpoints,
                "failed_checkpoints": partition.progress.failed_checkpoints,
                "chunks": partition.progress.chunks,
                "silences": partition.progress.silences,
                "waits": int(partition.progress.waits is not None),
                **partition.sizes(),
            }
            for partition in engine.open_partitions()
        ],
        "transactions": [
            {
                "topic": topic,
                "partition": number,
                "held_seconds": engine.holds[topic, number].report()["seconds"]
                if (topic, number) in engine.holds
                else 0.0,
            }
            for topic, number in sorted(engine.watched)
        ],
        "publisher_queued": runtime.publisher.queued() if runtime else 0,
        "outputs_queued": engine.outputs_queued(),
        "standbys": len(engine.standbys),
        "standby_rows": runtime.standby.rows if runtime else 0,
        "cache_bytes": runtime.resources.cache.get_usage() if runtime else 0,
        "cache_limit_bytes": engine.options.cache_bytes,
        "write_buffer_limit_bytes": engine.options.write_buffer_bytes,
    }
