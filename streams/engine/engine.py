"""The engine of one worker: owns its partitions, their readers and their producers.

`Engine` is a service of the Faust app.  Faust's assignor decides which table partitions
this worker owns; the engine opens, folds, checkpoints and closes them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from faust.types import TP
from mode import Service

from streams.engine.checkpoint import Checkpoint
from streams.engine.database import Resources
from streams.engine.output import DeliveryTracker, Headers, OutputProducer, Publisher
from streams.engine.pacing import SendPacer
from streams.engine.partition import Partition
from streams.engine.progress import PartitionSpec
from streams.engine.source import Chunk, SourceReader
from streams.engine.standby import StandbyFollower
from streams.engine.topics import TOMBSTONE_MS, needed_topics
from streams.engine.watchdog import Duty, PartitionWatch, Watchdog
from streams.errors import StreamsError, Unavailable
from streams.fold import Fold, FoldFactory, Record
from streams.kafka.clients import open_reader
from streams.kafka.topics import Topic, check_topics, ensure_topics, topic_ids

if TYPE_CHECKING:
    from streams.engine.application import App
    from streams.engine.options import EngineOptions
    from streams.engine.transport import Consumer as GroupConsumer

logger = logging.getLogger(__name__)
T = TypeVar("T")

DEAD_LETTER_BYTES = 1 << 20
"""A dead letter carries at most this much of the record's value."""
DEAD_LETTER_KEY_BYTES = 64 << 10
"""And of its key, which Kafka bounds only after compression."""

STUCK_SECONDS = 75.0
"""Who owes something and has not moved for so long is stuck; longer than a rebalance may take."""

OVERLAY_BYTES = 256 << 20
"""Keys and values of changed rows that all partitions may keep until they are checkpointed."""

COMMIT_SECONDS = 0.5
"""How often source offsets are committed to the consumer group, for lag tools."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A folded table: which topic it is folded from, and by what."""

    name: str
    source_topic: str
    changelog_topic: str
    factory: FoldFactory


class Engine(Service):
    """See the module's docstring.  All methods are for the event loop, unless they say so."""

    def __init__(self, app: App, options: EngineOptions) -> None:
        super().__init__(loop=None)
        self.app = app
        self.options = options
        self.app_id = options.app_id
        self.client: Mapping[str, Any] = options.client
        self.checkpoint_seconds = options.checkpoint_seconds
        self.checkpoint_rows = options.checkpoint_rows
        self.tombstone_ms = TOMBSTONE_MS - 86_400_000  # a day of margin
        self.on_chunk_folded: Callable[[Partition, Fold], None] = lambda _partition, _fold: None
        """Called after each chunk, when its rows can be read."""
        self.on_checkpoint: Callable[[Checkpoint], None] = lambda _checkpoint: None
        """Called after each checkpoint."""
        self.on_partition_lost: Callable[[Partition], None] = lambda _partition: None
        """Called when a partition stops answering reads."""
        self.on_step: Callable[[str, str], None] | None = None
        """For tests: called, from any thread, when a checkpoint begins a step."""
        self.tables: dict[str, TableSpec] = {}
        self._table_of: dict[str, str] = {}
        self.partitions: dict[tuple[str, int], Partition] = {}
        self.stuck_seconds = STUCK_SECONDS
        self.started_at = time.time()
        self._epoch = 0
        self._topic_ids: dict[str, bytes] = {}
        self._positions: dict[tuple[str, int], int] = {}
        self._closed = False
        self._watches: dict[Partition, PartitionWatch] = {}
        self._standbys: set[tuple[str, int]] = set()
        self._control_lock = threading.Lock()
        self.compute_lock = threading.Lock()
        self._assigning = asyncio.Lock()

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of changed rows that bring a checkpoint of one partition on.

        All partitions together hold at most twice `OVERLAY_BYTES`, however many there are:
        what is being written, and what changes meanwhile.
        """
        share = OVERLAY_BYTES // max(1, len(self.partitions))
        return max(1 << 20, min(32 << 20, share))

    # Set-up -------------------------------------------------------------------------

    def add_table(self, name: str, source_topic: str, factory: FoldFactory) -> TableSpec:
        """Declare a table; to be called before the app starts."""
        spec = TableSpec(name, source_topic, self.options.changelog(name), factory)
        self.tables[name] = spec
        self._table_of[spec.changelog_topic] = name
        return spec

    @property
    def source_topics(self) -> set[str]:
        """The topics that are folded into tables."""
        return {spec.source_topic for spec in self.tables.values()}

    async def on_start(self) -> None:
        """Check topics, and start readers and producers."""
        # Threads of this process hand the interpreter over sooner than the default 5 ms,
        # which a record would otherwise wait at each thread that it passes.
        sys.setswitchinterval(0.001)
        # What is loaded by now stays: the collector need not look at it ever again, and a
        # full collection stops all partitions for as long as it looks.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        options = self.options
        self.resources = Resources(options.cache_bytes, options.write_buffer_bytes)
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="engine")
        # Restores take minutes: checkpoints of other partitions must not wait for their threads.
        self._restores = ThreadPoolExecutor(max_workers=8, thread_name_prefix="restore")
        self._control = open_reader(
            self.client, f"{self.app_id}-control", {"isolation.level": "read_committed"}
        )
        self._admin = AdminClient(dict(self.client))
        await self.blocking(self._learn_topics)
        self.outputs = OutputProducer(self.client)
        self.pacer = SendPacer(self.loop, self.outputs, self.backlog)
        self.publisher = Publisher(self.client)
        self.source = SourceReader(
            self.client,
            self.app_id,
            self.loop,
            self._arrive,
            options.chunk_records,
            options.chunk_bytes,
        )
        self.standby = StandbyFollower(
            self.client, self.app_id, self.resources, self.topic_id, self.tombstone_ms
        )
        self.watchdog = Watchdog(self._duties, self._kafka_is_whole, self.stuck_seconds)
        await self.add_runtime_dependency(self.watchdog)

    @property
    def topics(self) -> list[Topic]:
        """The topics that this app needs."""
        return needed_topics(self.options, sorted(self.source_topics), self.tables)

    def _learn_topics(self) -> None:
        """Create missing topics, check the others, and learn their ids. Blocks.

        Retries until Kafka answers: brokers learn of new topics at different times.

        Raises:
            TopicsError: a topic is not as wanted.
        """
        prepare = ensure_topics if self.options.create_topics else check_topics
        while True:
            try:
                prepare(self.client, self.topics)
                changelogs = [spec.changelog_topic for spec in self.tables.values()]
                self._topic_ids = topic_ids(self.client, changelogs)
                return
            except Unavailable as exc:
                if self.should_stop:
                    raise
                logger.warning("topics are not ready, trying again: %s", exc)
                time.sleep(1.0)

    async def on_stop(self) -> None:
        """Stop readers and producers; partitions were closed before."""
        await self.close_partitions()
        if hasattr(self, "source"):
            await self.blocking(self.source.close)
            await self.blocking(self.standby.close)
            await self.blocking(lambda: self.publisher.close(5.0))
            self.pacer.close()
            await self.blocking(lambda: self.outputs.close(5.0))
        if hasattr(self, "_control"):
            await self.blocking(self._control.close)
            self._threads.shutdown(wait=False)
            self._restores.shutdown(wait=False)

    @property
    def _consumer(self) -> GroupConsumer:
        return cast("GroupConsumer", self.app.consumer)

    # Assignment ---------------------------------------------------------------------

    async def assign(
        self, actives: set[tuple[str, int]], standbys: set[tuple[str, int]], generation: int
    ) -> None:
        """Take over the assignment of a generation, as (table, partition) pairs.

        Partitions that stay are left alone, unless somebody else has written to them.
        """
        async with self._assigning:
            if self._closed:
                return
            standbys = standbys - actives
            lost = [p for key, p in self.partitions.items() if key not in actives]
            for partition in lost:
                del self.partitions[partition.table, partition.number]
            kept = list(self.partitions.values())
            if self._consumer.missed_generation:
                # An owner of the meantime may have answered reads and not written yet.
                theirs = kept
            else:
                mine = await asyncio.gather(*(partition.still_mine() for partition in kept))
                theirs = [p for p, is_mine in zip(kept, mine, strict=True) if not is_mine]
            for partition in theirs:
                partition.reopen()
            self._consumer.acknowledge_generation(generation)
            await asyncio.gather(*(partition.close(checkpoint=False) for partition in lost))
            for key in self._standbys - standbys:
                await self.standby.release(self._followed(key))
            for key in sorted(actives - self.partitions.keys()):
                self._open(key)
            for key in standbys - self._standbys:
                self.standby.follow(self._followed(key), self._path(key))
            self._standbys = standbys

    def _open(self, key: tuple[str, int]) -> None:
        table, number = key
        spec = self.tables[table]
        partition = self.partitions[key] = Partition(
            self,
            PartitionSpec(
                table,
                number,
                spec.source_topic,
                spec.changelog_topic,
                spec.factory,
                self._path(key),
            ),
        )
        partition.start()

    def _followed(self, key: tuple[str, int]) -> tuple[str, int]:
        return self.tables[key[0]].changelog_topic, key[1]

    def _path(self, key: tuple[str, int]) -> Path:
        return self.options.data / "tables" / self.app_id / f"{key[0]}-{key[1]}.db"

    def reread(self) -> None:
        """Have all partitions read on from where they stand: chunks may have been dropped."""
        for partition in self.partitions.values():
            partition.reread()

    async def close_partitions(self) -> None:
        """Checkpoint and close everything: the worker is stopping."""
        self._closed = True
        partitions = list(self.partitions.values())
        await asyncio.gather(*(partition.close(checkpoint=True) for partition in partitions))
        self.partitions.clear()
        await self._commit_positions()

    # Chunks -------------------------------------------------------------------------

    def _arrive(self, chunks: list[Chunk]) -> None:
        self._consumer.arrive(chunks)

    def accept(self, table: str, chunks: Iterable[Chunk]) -> None:
        """Give chunks to the partitions that fold them; the agents' last word on them."""
        for chunk in chunks:
            partition = self.partitions.get((table, chunk.partition))
            if partition is None:
                self.source.done(chunk)
            else:
                partition.accept(chunk)

    def accept_of_topic(self, topic: str, chunks: Iterable[Chunk]) -> None:
        """Give chunks of a source topic to their partitions, without the agents' help."""
        for spec in self.tables.values():
            if spec.source_topic == topic:
                self.accept(spec.name, chunks)

    # For gateway and commands -------------------------------------------------------

    def partition(self, table: str, number: int) -> Partition | None:
        """The partition if this worker owns it, in whatever state; None otherwise."""
        return self.partitions.get((table, number))

    def open_partitions(self) -> list[Partition]:
        """The partitions that this worker owns, in whatever state."""
        return list(self.partitions.values())

    def ready_partitions(self, table: str) -> Iterator[Partition]:
        """The partitions of a table that this worker owns and may read from."""
        return (p for p in list(self.partitions.values()) if p.table == table and p.ready)

    def owner(self, table: str, number: int) -> str | None:
        """URL of the worker that owns a partition by the last assignment known here."""
        tp = TP(self.tables[table].changelog_topic, number)
        assignor: Any = self.app.assignor
        url: str | None = assignor._tps_url.get(tp)
        return url

    @property
    def failure(self) -> str | None:
        """Why this worker cannot go on and must be restarted, or None."""
        if not hasattr(self, "source"):
            return None
        if self.source.failure is not None:
            return f"source reader: {self.source.failure!r}"
        if self.standby.failure is not None:
            return f"standby follower: {self.standby.failure!r}"
        if hasattr(self, "watchdog") and self.watchdog.verdict is not None:
            return f"stuck: {self.watchdog.verdict}"
        if self.outputs.fatal is not None:
            return f"output producer: {self.outputs.fatal.str()}"
        if self.publisher.fatal is not None:
            return f"publisher: {self.publisher.fatal.str()}"
        return None

    def status(self) -> dict[str, Any]:
        """What `/v1/cluster` shows: partitions, owners, lag, recovery.

        Each row of `partitions` names a table partition of the whole cluster; those of
        this worker also say their state, positions (source offsets) and lag (records).
        """
        rows = []
        for table in self.tables:
            for number in range(self.options.partitions):
                row: dict[str, Any] = {
                    "table": table,
                    "partition": number,
                    "owner": self.owner(table, number),
                }
                partition = self.partitions.get((table, number))
                if partition is not None:
                    end = partition.source_end
                    progress = partition.progress
                    last = progress.last_checkpoint
                    row |= {
                        "state": str(partition.state),
                        "ready": partition.ready,
                        "position": partition.position,
                        "end": end,
                        "lag": max(0, end - partition.position),
                        "lag_seconds": round(partition.lag_seconds, 3),
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
                rows.append(row)
        mine = [row for row in rows if "state" in row]
        return {
            "app": self.app_id,
            "url": str(self.app.conf.canonical_url),
            "pid": os.getpid(),
            "started_at": int(self.started_at * 1000),
            "generation": self.app.consumer_generation_id,
            "rebalancing": bool(self.app.rebalancing),
            "ready": bool(mine) and all(row["ready"] for row in mine),
            "failure": self.failure,
            "standbys": sorted(f"{table}/{number}" for table, number in self._standbys),
            "outputs_queued": self.outputs_queued(),
            "partitions": rows,
        }

    def backlog(self) -> int:
        """Records that wait to be folded here, as far as they are known."""
        return sum(p.source_end - p.position for p in self.partitions.values())

    def outputs_queued(self) -> int:
        """Outputs that are not in Kafka yet, as far as they are known; 0: all is done."""
        if not hasattr(self, "source"):
            return 0
        work = sum(partition.work_left for partition in self.partitions.values())
        return self.outputs.queued() + self.pacer.waiting() + work

    def measures(self) -> dict[str, Any]:
        """What `/metrics` shows besides `status`: sizes, queues and totals.

        `partitions` has a row for each that this worker has open; all of it is read without
        touching a disk or Kafka.
        """
        started = hasattr(self, "source")
        return {
            "partitions": [
                {
                    "table": partition.table,
                    "partition": partition.number,
                    "checkpoints": partition.progress.checkpoints,
                    "failed_checkpoints": partition.progress.failed_checkpoints,
                    "chunks": partition.progress.chunks,
                    **partition.sizes(),
                }
                for partition in self.partitions.values()
            ],
            "publisher_queued": self.publisher.queued() if started else 0,
            "outputs_queued": self.outputs_queued(),
            "standbys": len(self._standbys),
            "standby_rows": self.standby.rows if started else 0,
            "cache_bytes": self.resources.cache.get_usage() if started else 0,
            "cache_limit_bytes": self.options.cache_bytes,
            "write_buffer_limit_bytes": self.options.write_buffer_bytes,
        }

    # Context of partitions (see `streams.engine.ports.Context`) -----------------------

    async def blocking(self, call: Callable[..., T], *args: Any) -> T:
        """Run a blocking call in a worker thread."""
        return await self.loop.run_in_executor(self._threads, call, *args)

    async def restoring(self, call: Callable[..., T], *args: Any) -> T:
        """Run a call that may block for minutes, in its turn: few at a time."""
        return await self.loop.run_in_executor(self._restores, call, *args)

    def topic_id(self, topic: str) -> bytes:
        """16 bytes that name this incarnation of a topic; for any thread."""
        return self._topic_ids[topic]

    def changelog_end(self, partition: tuple[str, int]) -> int:
        """End of the committed part of a partition; blocks, for any thread."""
        return self._watermarks(partition)[1]

    def source_end(self, partition: tuple[str, int]) -> int:
        """End of a source partition; blocks, for any thread."""
        return self._watermarks(partition)[1]

    def _watermarks(self, partition: tuple[str, int]) -> tuple[int, int]:
        while True:
            try:
                with self._control_lock:
                    low, high = self._control.get_watermark_offsets(
                        TopicPartition(*partition), timeout=5.0
                    )
                return int(low), int(high)
            except KafkaException as exc:
                if self._closed:
                    raise Unavailable("stopping") from exc
                logger.info("%s/%d: %s", *partition, exc.args[0].str())
                time.sleep(0.2)

    def next_epoch(self) -> int:
        """A number that no earlier assignment of a source has had."""
        self._epoch += 1
        return self._epoch

    def lease_valid(self, source: tuple[str, int]) -> bool:
        """Whether a source partition is known to be this worker's still.

        A worker that was stopped for longer than the session timeout sees at once, before
        any heartbeat is answered, that its partitions may have moved; and when the group
        has taken it back, it answers nothing until it has seen whether they had.
        """
        consumer = self._consumer
        age = time.monotonic() - consumer.last_heartbeat
        return (
            age < self.options.session_timeout_seconds
            and not consumer.missed_generation
            and consumer.is_assigned(*source)
        )

    def committed(self, source: tuple[str, int], offset: int) -> None:
        """Commit a source offset to the consumer group, some time soon."""
        self._positions[source] = offset

    @Service.task
    async def _commit_sometimes(self) -> None:
        while not self.should_stop:
            await self.sleep(COMMIT_SECONDS)
            await self._commit_positions()

    async def _commit_positions(self) -> None:
        positions, self._positions = self._positions, {}
        if not positions:
            return
        committed = await self._consumer.commit_positions(
            {TP(*source): offset for source, offset in positions.items()}
        )
        if not committed:  # as in a rebalance: later, unless there is something newer by then
            mine = {p.spec.source for p in self.partitions.values()}
            for source, offset in positions.items():
                if source in mine:
                    self._positions.setdefault(source, offset)

    @Service.task
    async def _remind_of_checkpoints(self) -> None:
        """Wake partitions whose checkpoint has come due: one timer for all of them."""
        while not self.should_stop:
            await self.sleep(min(0.1, self.checkpoint_seconds / 2))
            now = self.loop.time()
            for partition in self.partitions.values():
                partition.remind(now)

    def _duties(self) -> dict[Hashable, Duty]:
        """List what this worker has to do, for the watchdog."""
        if self._closed:
            return {}
        partitions = list(self.partitions.values())
        self._watches = {p: self._watches.get(p) or PartitionWatch() for p in partitions}
        duties: dict[Hashable, Duty] = {}
        restored = sum(partition.progress.restored_to for partition in partitions)
        for partition, watch in self._watches.items():
            duties |= watch.duties(partition, restored)
        heartbeat = self._consumer.last_heartbeat
        duties["group membership"] = Duty(True, heartbeat, "no heartbeat was accepted")
        duties["source reader"] = Duty(True, self.source.turns, "its thread hangs")
        app: Any = self.app
        assigned = {
            (self._table_of[tp.topic], tp.partition)
            for tp in app.assignor.assigned_actives()
            if tp.topic in self._table_of
        }
        duties["assignment"] = Duty(
            bool(app.rebalancing) or assigned != self.partitions.keys(),
            app.consumer_generation_id,
            f"rebalancing: {app.rebalancing}, {len(assigned)} partitions assigned, "
            f"{len(partitions)} open",
        )
        return duties

    def _kafka_is_whole(self) -> bool:
        """Tell whether every partition that this worker needs can be written to. Blocks."""
        enough = max(1, self.options.replication - 1)
        mine = self.source_topics | self._table_of.keys()
        try:
            topics = self._admin.list_topics(timeout=5.0).topics
        except KafkaException:
            return False
        return mine <= topics.keys() and all(
            partition.leader >= 0 and len(partition.isrs) >= (enough if name in mine else 1)
            for name, topic in topics.items()
            if name in mine or name.startswith("__")
            for partition in topic.partitions.values()
        )

    @Service.task
    async def _watch_for_failure(self) -> None:
        """End the worker when it cannot go on: it restarts from its checkpoints."""
        while not self.should_stop:
            await self.sleep(0.5)
            if self.failure is not None:
                await self.crash(StreamsError(self.failure))
                return

    async def dead_letter(
        self, topic: str, record: Record, reason: str, tracker: DeliveryTracker
    ) -> None:
        """Append a record that could not be folded to the dead letters."""
        logger.warning(
            "dead letter: %s/%d offset %d: %s", topic, record.partition, record.offset, reason
        )
        headers: Headers = [
            ("type", b"DeadLetter"),
            ("reason", reason.encode()[:1024]),
            ("topic", topic.encode()),
            ("partition", str(record.partition).encode()),
            ("offset", str(record.offset).encode()),
            ("timestamp", str(record.timestamp).encode()),
        ]
        value = record.value
        if value is not None and len(value) > DEAD_LETTER_BYTES:
            headers.append(("truncated", str(len(value)).encode()))
            value = value[:DEAD_LETTER_BYTES]
        key = record.key
        if key is not None and len(key) > DEAD_LETTER_KEY_BYTES:
            headers.append(("key-truncated", str(len(key)).encode()))
            key = key[:DEAD_LETTER_KEY_BYTES]
        await self.outputs.send_with(
            self.options.dead_letter_topic, record.partition, key, value, headers, tracker
        )

    def after_checkpoint(self, checkpoint: Checkpoint) -> None:
        """A checkpoint is durable."""
        self.on_checkpoint(checkpoint)

    def after_chunk(self, partition: Partition, fold: Fold) -> None:
        """A chunk has been folded; its rows can be read."""
        self.on_chunk_folded(partition, fold)

    def on_ready(self, partition: Partition) -> None:
        """The partition answers reads from now on."""
        logger.info(
            "%s ready at offset %d, %d rows restored",
            partition.spec.name,
            partition.position,
            partition.progress.restored_rows,
        )

    def on_lost(self, partition: Partition) -> None:
        """The partition has stopped answering reads."""
        self.on_partition_lost(partition)

    def step(self, name: str, step: str) -> None:
        """A checkpoint begins a step; for any thread."""
        if self.on_step is not None:
            self.on_step(name, step)
