"""Collectors that read the engine, the folds' counts and the inboxes at each scrape.

They cost nothing while records are folded: a scrape reads numbers that exist anyway.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, TypeAlias

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.folds.counts import CountsByPartition
from streams.folds.tables import MEMBERS, QUEUES
from streams.gateway.metrics.inbox_sampler import InboxSampler
from streams.gateway.ports import Engine

_Names: TypeAlias = dict[str, tuple[str, str]]
"""Key of a number in its source; name and help of its metric."""

_STATUS_GAUGES: _Names = {
    "ready": ("partition_ready", "1 when the partition answers reads."),
    "position": ("partition_position", "Next offset of the source topic to be folded."),
    "end": ("partition_end", "End of the source topic's partition."),
    "lag": (
        "partition_lag_records",
        "Records of the source topic not folded yet, held by a transaction or not.",
    ),
    "lag_seconds": (
        "partition_lag_seconds",
        "How long the oldest of these has waited.",
    ),
    "checkpointed": ("partition_checkpointed", "Source offset of the last checkpoint."),
    "restored": ("partition_recovery_ratio", "Share of the changelog restored; 1 when done."),
}
_STATUS_COUNTERS: _Names = {
    "folded": ("partition_folded_records", "Records folded."),
    "dead_letters": ("dead_letters", "Records that could not be folded."),
    "failures": (
        "partition_failures",
        "Times that the partition was reopened after a failure.",
    ),
    "restored_rows": ("partition_restored_rows", "Changelog records restored."),
}
_SIZE_GAUGES: _Names = {
    "overlay_rows": ("overlay_rows", "Changed rows that are not in a checkpoint yet."),
    "overlay_bytes": ("overlay_bytes", "Size of the keys and values of these rows."),
    "rows": ("rocksdb_rows", "Rows, by RocksDB's estimate."),
    "sst_bytes": ("rocksdb_sst_bytes", "Size of the SST files on disk."),
    "memtable_bytes": ("rocksdb_memtable_bytes", "Size of the memtables."),
    "pending_compaction_bytes": (
        "rocksdb_pending_compaction_bytes",
        "Bytes left to compact, by RocksDB's estimate.",
    ),
    "level0_files": (
        "rocksdb_level0_files",
        "Level-0 files, not merged by compaction yet.",
    ),
    "waits": (
        "schema_registry_waiting",
        "1 while records of the partition wait for the schema registry.",
    ),
}
_SIZE_COUNTERS: _Names = {
    "checkpoints": ("checkpoints", "Checkpoints written."),
    "failed_checkpoints": ("checkpoints_failed", "Checkpoints that failed."),
    "chunks": ("partition_chunks", "Chunks folded."),
    "silences": (
        "partition_silences",
        "Times that the source was read again because nothing came, although Kafka had records.",
    ),
}
_HOLD_GAUGES: _Names = {
    "held_seconds": (
        "transaction_held_seconds",
        "How long an open transaction has held a partition that this worker reads; 0 if none does.",
    ),
}
_WORKER_GAUGES: _Names = {
    "publisher_queued": (
        "publisher_queued_records",
        "Client events that Kafka has not confirmed yet.",
    ),
    "outputs_queued": (
        "outputs_queued_records",
        "Fold outputs that Kafka has not confirmed yet.",
    ),
    "standbys": ("standby_partitions", "Partitions that this worker follows as a standby."),
    "cache_bytes": ("rocksdb_block_cache_bytes", "Size of the block cache that all tables share."),
    "cache_limit_bytes": ("rocksdb_block_cache_limit_bytes", "Limit of the block cache."),
    "write_buffer_limit_bytes": (
        "rocksdb_memtable_limit_bytes",
        "Limit of all memtables together.",
    ),
}
_WORKER_COUNTERS: _Names = {
    "standby_rows": ("standby_rows", "Changelog records applied as a standby."),
}
_ROUTE_COUNTS: _Names = {
    "binds": ("binds", "Bindings made."),
    "unbinds": ("unbinds", "Bindings removed."),
    "messages": ("messages", "Messages accepted for groups and queues."),
    "duplicates": ("messages_duplicate", "Messages dropped because their sender had used the id."),
    "deliveries": ("deliveries", "Deliveries made: one per message and queue."),
}
_DELIVER_COUNTS: _Names = {
    "delivered": ("inbox_messages_added", "Messages added to inboxes."),
    "removed": ("inbox_messages_removed", "Messages removed from inboxes."),
    "acks": ("acks", "Acks processed."),
}

_OF_PARTITION = ("table", "partition")


class _Scraped(Collector):
    def describe(self) -> list[Metric]:
        """Keep the registry from scraping at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the current metric families."""
        raise NotImplementedError


class EngineCollector(_Scraped):
    """Partitions, their sizes, and the producers' queues."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Yield the current metric families."""
        status, metrics = self._engine.status(), self._engine.metrics()
        own = [row for row in status["partitions"] if "state" in row]
        yield from _families(GaugeMetricFamily, _STATUS_GAUGES, own)
        yield from _families(CounterMetricFamily, _STATUS_COUNTERS, own)
        yield from _families(GaugeMetricFamily, _SIZE_GAUGES, metrics["partitions"])
        yield from _families(CounterMetricFamily, _SIZE_COUNTERS, metrics["partitions"])
        yield from _families(
            GaugeMetricFamily, _HOLD_GAUGES, metrics["transactions"], ("topic", "partition")
        )
        for kind, names in (
            (GaugeMetricFamily, _WORKER_GAUGES),
            (CounterMetricFamily, _WORKER_COUNTERS),
        ):
            for key, (name, text) in names.items():
                yield kind(f"streams_{name}", text, value=metrics[key])
        yield GaugeMetricFamily(
            "streams_ready",
            "1 when the worker answers all of its reads.",
            value=int(status["ready"]),
        )
        yield GaugeMetricFamily(
            "streams_start_time_seconds",
            "When the worker started, in seconds since the epoch.",
            value=status["started_at"] / 1000,
        )


class FoldCollector(_Scraped):
    """What the folds have counted since the worker started."""

    def __init__(self, counts: CountsByPartition) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield the current metric families."""
        for table, names in ((MEMBERS, _ROUTE_COUNTS), (QUEUES, _DELIVER_COUNTS)):
            rows = [
                {"partition": number, **{key: getattr(counts, key) for key in names}}
                for of_table, number, counts in self._counts.all()
                if of_table == table
            ]
            yield from _families(CounterMetricFamily, names, rows, ("partition",))


class InboxCollector(_Scraped):
    """Depth and age of inboxes, from the last sample of each partition."""

    def __init__(self, inboxes: InboxSampler) -> None:
        self._inboxes = inboxes

    def collect(self) -> Iterator[Metric]:
        """Yield the current metric families."""
        depth = GaugeMetricFamily(
            "streams_inbox_messages",
            "Messages in inboxes. Exact some seconds after the last change, close until then.",
            labels=("partition",),
        )
        queues = GaugeMetricFamily(
            "streams_inboxes",
            "Queues with a message in their inbox, as last sampled, seconds ago.",
            labels=("partition",),
        )
        age = GaugeMetricFamily(
            "streams_inbox_oldest_seconds",
            "Age of the message that was the oldest in an inbox when last sampled.",
            labels=("partition",),
        )
        now = time.time()
        for sample in self._inboxes.read():
            label = [str(sample.partition)]
            depth.add_metric(label, sample.depth)
            queues.add_metric(label, sample.inboxes)
            oldest = sample.oldest_at
            age.add_metric(label, 0.0 if oldest is None else max(0.0, now - oldest / 1000))
        yield from (depth, queues, age)


def _families(
    kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
    names: _Names,
    rows: list[dict[str, Any]],
    labels: tuple[str, ...] = _OF_PARTITION,
) -> Iterator[Metric]:
    """Yield one family per name, with a sample for each row that has the number."""
    for key, (name, text) in names.items():
        family = kind(f"streams_{name}", text, labels=labels)
        for row in rows:
            if row.get(key) is not None:
                family.add_metric([str(row[label]) for label in labels], row[key])
        yield family
