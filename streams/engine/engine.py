"""The engine of one worker: owns its partitions, their readers and their producers.

`Engine` is a service of the Faust app.  Faust's assignor decides which table partitions
this worker owns; the engine opens, folds, checkpoints and closes them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from confluent_kafka import KafkaException
from faust.types import TP
from mode import Service

from streams.engine.checkpoint import Checkpoint
from streams.engine.contact import Contact
from streams.engine.dead_letters import dead_letter
from streams.engine.holds import Ends, Hold, HoldWatch
from streams.engine.internals import internals
from streams.engine.output import DeliveryTracker, Publisher
from streams.engine.partition import Partition
from streams.engine.progress import PartitionSpec, State
from streams.engine.reach import Reach
from streams.engine.readiness import Condition, trouble
from streams.engine.runtime import Runtime
from streams.engine.silence import SilenceWatch
from streams.engine.source import Chunk, Source
from streams.engine.status import metrics, status
from streams.engine.topics import TOMBSTONE_MS, needed_topics
from streams.engine.watchdog import Duty, PartitionWatch, Watchdog
from streams.errors import StreamsError, Unavailable
from streams.fold import Fold, FoldFactory, Record
from streams.kafka.topics import Topic, check_topics, ensure_topics, topic_ids
from streams.native import Library, load
from streams.pauses import Pauses

if TYPE_CHECKING:
    from streams.engine.application import App
    from streams.engine.options import EngineOptions
    from streams.engine.translation import Translator
from streams.engine.transport import Consumer as GroupConsumer

logger = logging.getLogger(__name__)
T = TypeVar("T")

STUCK_SECONDS = 75.0
"""A duty that has not moved for this long is stuck; longer than a rebalance may take."""

OVERLAY_BYTES = 256 << 20
"""Keys and values of changed rows that all partitions together may hold in memory."""

HOLD_LOOK_SECONDS = 2.0
"""How often Kafka is asked for the ends of partitions."""

ASK_AGAIN_SECONDS = 20.0
"""Pause before Kafka, which is away, is asked again whether partitions accept writes."""

COMMIT_SECONDS = 0.5
"""How often source offsets are committed to the consumer group, for lag tools."""
TOPICS_PAUSES = (1.0, 5.0)
"""First and longest pause, in seconds, between attempts to create or check the topics."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A folded table: its source topic, its changelog and its fold."""

    name: str
    source_topic: str
    changelog_topic: str
    factory: FoldFactory
    translator: Translator | None = None


class Engine(Service):
    """See the module's docstring.  Methods are for the event loop, unless they say otherwise."""

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
        self.contact = Contact()
        """Whether Kafka answers; for any thread."""
        self.started_at = time.time()
        self._epoch = 0
        self._topic_ids: dict[str, bytes] = {}
        self._positions: dict[tuple[str, int], int] = {}
        self._closed = False
        self._hold_watch = HoldWatch()
        self._reach = Reach(options.session_timeout_seconds)
        self._recreated: set[str] = set()
        """Source topics that were created again."""
        self._silence_watch = SilenceWatch(HOLD_LOOK_SECONDS)
        self._ask_at = 0.0
        """When Kafka may be asked again whether it is available (monotonic)."""
        self._waiting: str | None = None
        """Why the topics are not ready yet, until they are."""
        self._watches: dict[Partition, PartitionWatch] = {}
        self.standbys: set[tuple[str, int]] = set()
        """The table partitions whose standbys are kept here."""
        self.core: Library | None = None
        """The native core, if it is in use; set at the start."""
        self._runtime: Runtime | None = None
        self._watchdog: Watchdog | None = None
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="engine")
        # Restores take minutes: checkpoints of other partitions must not wait for their threads.
        self._restores = ThreadPoolExecutor(max_workers=8, thread_name_prefix="restore")
        self.compute_lock = threading.Lock()
        self._assigning = asyncio.Lock()

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of changed rows that trigger a checkpoint of one partition.

        All partitions together hold at most twice `OVERLAY_BYTES`, whatever their number:
        rows that are being written, and rows that change meanwhile.
        """
        share = OVERLAY_BYTES // max(1, len(self.partitions))
        return max(1 << 20, min(32 << 20, share))

    # Set-up -------------------------------------------------------------------------

    def add_table(
        self,
        name: str,
        source_topic: str,
        factory: FoldFactory,
        translator: Translator | None = None,
    ) -> TableSpec:
        """Declare a table; call it before the app starts."""
        spec = TableSpec(name, source_topic, self.options.changelog(name), factory, translator)
        self.tables[name] = spec
        self._table_of[spec.changelog_topic] = name
        return spec

    @property
    def source_topics(self) -> set[str]:
        """The topics that are folded into tables."""
        return {spec.source_topic for spec in self.tables.values()}

    async def on_start(self) -> None:
        """Check topics, and start readers and producers."""
        # Switch threads sooner than after the default 5 ms, which a record would wait at each
        # thread that it passes.
        sys.setswitchinterval(0.001)
        # Everything loaded so far stays. Keep the collector from scanning it again: a full
        # collection stops all partitions.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        self.core = load(self.options.native)
        await self.blocking(self._learn_topics)
        self._runtime = Runtime(
            self.options,
            self.loop,
            self._deliver,
            self.backlog,
            self.topic_id,
            self.tombstone_ms,
            stopping=lambda: self._closed,
            contact=self.contact,
        )
        self._watchdog = Watchdog(
            self._duties, self._kafka_available, self.stuck_seconds, self._stuck_internals
        )
        await self.add_runtime_dependency(self._watchdog)

    @property
    def running(self) -> Runtime | None:
        """Readers and producers, None before the start."""
        return self._runtime

    @property
    def runtime(self) -> Runtime:
        """Readers and producers.

        Raises:
            Unavailable: the engine has not started.
        """
        if self._runtime is None:
            raise Unavailable("the worker is starting")
        return self._runtime

    @property
    def publisher(self) -> Publisher:
        """The producer of events that clients publish; raises as `runtime`."""
        return self.runtime.publisher

    def mark(
        self, topic: str, partition: int, key: bytes, value: bytes, kind: str
    ) -> Awaitable[int]:
        """Append a record after all outputs of folds so far; return its offset.

        Raises as `OutputProducer.mark`.
        """
        return self.runtime.outputs.mark(topic, partition, key, value, kind)

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
        pauses = Pauses(*TOPICS_PAUSES)
        while True:
            try:
                prepare(self.client, self.topics)
                changelogs = {spec.changelog_topic for spec in self.tables.values()}
                self._topic_ids = topic_ids(self.client, self.source_topics | changelogs)
                self._waiting = None
                self.contact.answered()
                return
            except Unavailable as exc:
                if self.should_stop:
                    raise
                self._waiting = str(exc)
                logger.warning("topics are not ready, trying again: %s", exc)
                self.contact.failed(str(exc))
                time.sleep(pauses.next())

    async def on_stop(self) -> None:
        """Stop readers and producers; partitions were closed before."""
        await self.close_partitions()
        if self._runtime is not None:
            await self._runtime.close()
        self._threads.shutdown(wait=False)
        self._restores.shutdown(wait=False)

    @property
    def _consumer(self) -> GroupConsumer:
        return cast("GroupConsumer", self.app.consumer)

    # Assignment ---------------------------------------------------------------------

    async def assign(
        self, actives: set[tuple[str, int]], standbys: set[tuple[str, int]], generation: int
    ) -> None:
        """Adopt the assignment of a generation, as (table, partition) pairs.

        Partitions that stay are not disturbed, unless another worker has written to them.
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
                # An owner in between may have answered reads without writing anything.
                theirs = kept
            else:
                mine = await asyncio.gather(*(partition.still_mine() for partition in kept))
                theirs = [p for p, is_mine in zip(kept, mine, strict=True) if not is_mine]
            for partition in theirs:
                partition.reopen()
            self._consumer.acknowledge_generation(generation)
            await asyncio.gather(*(partition.close(checkpoint=False) for partition in lost))
            for key in self.standbys - standbys:
                await self.runtime.standby.release(self._followed(key))
            for key in sorted(actives - self.partitions.keys()):
                self._open(key)
            for key in standbys - self.standbys:
                self.runtime.standby.follow(self._followed(key), self._path(key))
            self.standbys = standbys

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
                spec.translator,
            ),
        )
        partition.start()

    def _followed(self, key: tuple[str, int]) -> tuple[str, int]:
        return self.tables[key[0]].changelog_topic, key[1]

    def _path(self, key: tuple[str, int]) -> Path:
        return self.options.data / "tables" / self.app_id / f"{key[0]}-{key[1]}.db"

    def reread(self) -> None:
        """Have all partitions read their sources again: chunks may have been dropped."""
        for partition in self.partitions.values():
            partition.reread()

    async def close_partitions(self) -> None:
        """Checkpoint and close all partitions: the worker is stopping."""
        self._closed = True
        partitions = list(self.partitions.values())
        await asyncio.gather(*(partition.close(checkpoint=True) for partition in partitions))
        self.partitions.clear()
        await self._commit_positions()

    # Chunks -------------------------------------------------------------------------

    def _deliver(self, chunks: list[Chunk]) -> None:
        self._consumer.arrive(chunks)

    def accept(self, table: str, chunks: Iterable[Chunk]) -> None:
        """Give chunks to the partitions that fold them; called by the agents."""
        for chunk in chunks:
            partition = self.partitions.get((table, chunk.partition))
            if partition is None:
                self.runtime.source.done(chunk)
            else:
                partition.accept(chunk)

    def accept_of_topic(self, topic: str, chunks: Iterable[Chunk]) -> None:
        """Give chunks of a source topic to their partitions, bypassing the agents."""
        for spec in self.tables.values():
            if spec.source_topic == topic:
                self.accept(spec.name, chunks)

    # For gateway and commands -------------------------------------------------------

    def partition(self, table: str, number: int) -> Partition | None:
        """Return the partition if this worker owns it, in any state; None otherwise."""
        return self.partitions.get((table, number))

    def open_partitions(self) -> list[Partition]:
        """Return the partitions that this worker owns, in any state."""
        return list(self.partitions.values())

    def ready_partitions(self, table: str) -> Iterator[Partition]:
        """Return the partitions of a table that this worker owns and can read from."""
        return (p for p in list(self.partitions.values()) if p.table == table and p.ready)

    def owner(self, table: str, number: int) -> str | None:
        """Return the URL of the worker that owned a partition in the last known assignment."""
        tp = TP(self.tables[table].changelog_topic, number)
        assignor: Any = self.app.assignor
        url: str | None = assignor._tps_url.get(tp)  # Faust has no public way to ask
        return url

    @property
    def failure(self) -> str | None:
        """Why this worker cannot go on and must be restarted, or None."""
        if self._watchdog is not None and self._watchdog.verdict is not None:
            return f"stuck: {self._watchdog.verdict}"
        return self._runtime.failure if self._runtime is not None else None

    @property
    def condition(self) -> Condition:
        """The condition of this worker as a whole."""
        app: Any = self.app
        started = self._runtime is not None
        age = time.monotonic() - self._consumer.last_heartbeat if started else math.inf
        return Condition(
            brokers=self.options.brokers,
            failure=self.failure,
            stopping=self._closed or self.should_stop or bool(app.should_stop),
            waiting=self._waiting,
            started=started,
            heartbeat_age=age,
            session_timeout=self.options.session_timeout_seconds,
            rebalancing=bool(app.rebalancing),
            generation=int(app.consumer_generation_id),
        )

    @property
    def assigned(self) -> set[tuple[str, int]]:
        """The table partitions that the last assignment gives to this worker."""
        app: Any = self.app
        return {
            (self._table_of[tp.topic], tp.partition)
            for tp in app.assignor.assigned_actives()
            if tp.topic in self._table_of
        }

    def unreadable(self, table: str, number: int) -> str:
        """Return why a partition that is not ready here cannot be read, for the client."""
        partition = self.partitions.get((table, number))
        reason = trouble(self.condition)
        if reason is None:
            doing = partition.state if partition is not None else "moving to another worker"
            reason = f"it is {doing}"
        return f"partition {number} of {table} cannot be read: {reason}"

    def pause(self, seconds: float) -> float:
        """Return `seconds`, or several times as many while Kafka does not answer."""
        return self.contact.pause(seconds)

    def status(self) -> dict[str, Any]:
        """Return partitions, owners, lag and recovery, ready for JSON.

        `partitions` has a row for every table partition of the cluster.  Rows of this
        worker also have their state, positions (source offsets) and lag (records).
        """
        return status(self)

    def internals(self) -> dict[str, Any]:
        """Return what this worker is doing and waiting for, ready for JSON.

        The group membership, the source reader, each partition with its task and checkpoint,
        and the innermost calls of each thread.  For people who look for a stall: the fields
        may change in any version.
        """
        return internals(self)

    @property
    def waited(self) -> Mapping[Hashable, float]:
        """For how many seconds each duty that is pending has not moved; see the watchdog."""
        return self._watchdog.waited if self._watchdog is not None else {}

    def metrics(self) -> dict[str, Any]:
        """Return figures for metrics that `status` does not have: sizes, queues, totals.

        `partitions` has a row for each partition that this worker owns.  Nothing here
        touches a disk or Kafka.
        """
        return metrics(self)

    def backlog(self) -> int:
        """Return how many records are known to wait to be folded here."""
        return sum(p.readable_end - p.position for p in self.partitions.values())

    def outputs_queued(self) -> int:
        """Return how many outputs and records with deferred work are not finished."""
        if self._runtime is None:
            return 0
        work = sum(partition.work_left for partition in self.partitions.values())
        return self._runtime.outputs_queued() + work

    # Context of partitions (see `streams.engine.ports.Context`) -----------------------

    async def blocking(self, call: Callable[..., T], *args: Any) -> T:
        """Run a blocking call in a worker thread."""
        return await self.loop.run_in_executor(self._threads, call, *args)

    async def restoring(self, call: Callable[..., T], *args: Any) -> T:
        """Run a call that may block for minutes in one of a few threads."""
        return await self.loop.run_in_executor(self._restores, call, *args)

    def topic_id(self, topic: str) -> bytes:
        """Return Kafka's 16-byte id of a source or changelog topic; for any thread.

        A topic that is created again has another id.
        """
        return self._topic_ids[topic]

    def log_start(self, partition: tuple[str, int]) -> int:
        """Return the first offset that a partition still has; blocks, for any thread."""
        return self.runtime.control.log_start(partition)

    def log_end(self, partition: tuple[str, int], committed: bool = True) -> int:
        """Return the end of a partition, or of its committed part; blocks, for any thread."""
        return self.runtime.control.log_end(partition, committed)

    def high_watermark(self, partition: tuple[str, int]) -> int:
        """Return the end of a watched partition's log, as last seen; 0 if unknown."""
        return self._hold_watch.high.get(partition, 0)

    def hold(self, partition: tuple[str, int]) -> Hold | None:
        """Return the open transaction that holds a partition, if one does."""
        return self._hold_watch.holds.get(partition)

    @property
    def holds(self) -> Mapping[tuple[str, int], Hold]:
        """The open transactions that hold watched partitions, by topic and partition."""
        return self._hold_watch.holds

    @property
    def watched(self) -> set[tuple[str, int]]:
        """The partitions that are watched for open transactions, as topics and partitions.

        Those that this worker reads: sources, changelogs that it restores, and those of its
        standbys.  The changelog of a ready partition is only written here.
        """
        partitions = self.partitions.values()
        return {
            *(partition.spec.source for partition in partitions),
            *(
                partition.spec.changelog
                for partition in partitions
                if partition.state in (State.OPENING, State.RESTORING)
            ),
            *(self._followed(key) for key in self.standbys),
        }

    @Service.task
    async def _watch_ends(self) -> None:
        """Watch the ends of logs: Kafka must tell them, and no transaction must hold them."""
        watch = self._hold_watch
        while not self.should_stop:
            await self.sleep(HOLD_LOOK_SECONDS)
            if self._runtime is None or self._closed or self.contact.away:
                continue
            control, before = self._runtime.control, watch.holds
            try:
                # Before Kafka is asked: what is folded meanwhile is not beyond the end.
                folded = {p.spec.source: p.position for p in self.partitions.values()}
                ends, failures = await self.blocking(control.ends, self.watched)
                failures |= _beyond(folded, ends)
                lost = failures | await self._replaced(failures)
                self._note_access(lost)
                self._read_silent_again({s: both for s, both in ends.items() if s not in lost})
                standbys = {self._followed(key) for key in self.standbys}
                for source, offset in watch.look(
                    time.monotonic(), ends, standbys, failures
                ).items():
                    since = await self.blocking(control.written_at, source, offset)
                    watch.held(source, offset, since)
                    logger.warning(
                        "%s/%d: an open transaction of a producer holds the records from offset "
                        "%d on; if its producer is gone, abort it with kafka-transactions.sh",
                        *source,
                        offset,
                    )
            except (KafkaException, RuntimeError) as exc:
                logger.debug("cannot ask for the ends of partitions: %s", exc)
                continue
            for source in before.keys() - watch.holds.keys():
                logger.info("%s/%d: no transaction holds it any more", *source)

    async def _replaced(self, failures: Mapping[Source, str]) -> dict[Source, str]:
        """Return the sources whose topic was created again, with the reason to show.

        The new topic has other records at the offsets that were folded, so its records must not
        be taken for the next ones of the old topic, however long it has become.
        """
        topics = self._reach.doubtful(failures) & self.source_topics
        if topics:
            try:
                ids = await self.blocking(topic_ids, self.client, topics)
            except Unavailable as exc:
                logger.debug("cannot ask for the ids of topics: %s", exc)
            else:
                self._reach.checked(topics)
                self._recreated |= {topic for topic in ids if ids[topic] != self.topic_id(topic)}
        return {
            partition.spec.source: "the topic was deleted and created again"
            for partition in self.partitions.values()
            if partition.spec.source[0] in self._recreated
        }

    def _note_access(self, failures: Mapping[Source, str]) -> None:
        now = time.monotonic()
        began, ended = self._reach.look(now, failures)
        for source in began:
            logger.error("%s; nothing can be folded from it", self._reach.lost(now, source))
        for source in ended:
            logger.info("access to %s/%d again", *source)

    def lost_source(self, partition: Partition) -> str | None:
        """Return why a partition's source cannot be read at present; None if it can."""
        return self._reach.lost(time.monotonic(), partition.spec.source)

    def _read_silent_again(self, ends: Mapping[tuple[str, int], Ends]) -> None:
        """Read sources again from which nothing has come for long, although they have records."""
        partitions = {partition.spec.source: partition for partition in self.partitions.values()}
        waiting = {
            source: offset
            for source, partition in partitions.items()
            if (offset := partition.waits_at) is not None
        }
        silences = self._silence_watch.look(time.monotonic(), waiting, ends)
        if any(silence.times > 1 for silence in silences.values()):
            self.runtime.source.renew()
        for source, silence in silences.items():
            again = "with a new client" if silence.times > 1 else "again"
            logger.warning(
                "%s/%d: no record has come from Kafka's client for %.0f s, although Kafka has "
                "records from offset %d to %d; reading this partition %s from there",
                *source,
                silence.seconds,
                silence.offset,
                silence.end,
                again,
            )
            partitions[source].progress.silences += 1
            partitions[source].reread()

    def next_epoch(self) -> int:
        """Return a number that no earlier assignment of a source has had."""
        self._epoch += 1
        return self._epoch

    def lease_valid(self, source: tuple[str, int]) -> bool:
        """Return whether a source partition certainly still belongs to this worker.

        A worker that was stopped for longer than the session timeout knows at once, before
        any heartbeat is answered, that its partitions may have moved.  After it has rejoined
        the group, it answers no reads until it has checked whether they did.
        """
        consumer = self._consumer
        age = time.monotonic() - consumer.last_heartbeat
        return (
            age < self.options.session_timeout_seconds
            and not consumer.missed_generation
            and consumer.is_assigned(*source)
        )

    def committed(self, source: tuple[str, int], offset: int) -> None:
        """Commit a source offset to the consumer group soon."""
        self._positions[source] = offset

    @Service.task
    async def _commit_sometimes(self) -> None:
        while not self.should_stop:
            await self.sleep(self.pause(COMMIT_SECONDS))
            await self._commit_positions()

    async def _commit_positions(self) -> None:
        positions, self._positions = self._positions, {}
        if not positions:
            return
        committed = await self._consumer.commit_positions(
            {TP(*source): offset for source, offset in positions.items()}
        )
        if not committed:  # during a rebalance, say: retry, unless a newer offset replaces it
            mine = {p.spec.source for p in self.partitions.values()}
            for source, offset in positions.items():
                if source in mine:
                    self._positions.setdefault(source, offset)

    @Service.task
    async def _remind_of_checkpoints(self) -> None:
        """Wake partitions whose checkpoint is due, by one timer for all of them."""
        while not self.should_stop:
            await self.sleep(self.pause(min(0.1, self.checkpoint_seconds / 2)))
            now = self.loop.time()
            for partition in self.partitions.values():
                partition.remind(now)

    def _duties(self) -> dict[Hashable, Duty]:
        """Return what this worker has to do, for the watchdog."""
        if self._closed or self._runtime is None:
            return {}
        partitions = list(self.partitions.values())
        self._watches = {p: self._watches.get(p) or PartitionWatch() for p in partitions}
        duties: dict[Hashable, Duty] = {}
        restored = sum(partition.progress.restored_to for partition in partitions)
        for partition, watch in self._watches.items():
            duties |= watch.duties(partition, restored)
        heartbeat = self._consumer.last_heartbeat
        duties["group membership"] = Duty(True, heartbeat, "Kafka accepts no heartbeat")
        duties["source reader"] = Duty(True, self._runtime.source.turns, "its thread hangs")
        app, assigned = cast(Any, self.app), self.assigned
        duties["assignment"] = Duty(
            bool(app.rebalancing) or assigned != self.partitions.keys(),
            app.consumer_generation_id,
            f"rebalancing: {app.rebalancing}, {len(assigned)} partitions assigned, "
            f"{len(partitions)} open",
        )
        return duties

    def _stuck_internals(self) -> dict[str, Any]:
        """Return the internals for the watchdog's log, which shows the threads by itself."""
        found = self.internals()
        del found["threads"]
        return found

    def _kafka_available(self) -> bool:
        """Return whether every partition that this worker needs accepts writes. Blocks."""
        if self.contact.away and time.monotonic() < self._ask_at:
            return False  # as it was a few seconds ago: asking takes processor time, too
        needed = self.source_topics | self._table_of.keys()
        available = self.runtime.control.writable(needed, self.options.replication)
        self._ask_at = 0.0 if available else time.monotonic() + ASK_AGAIN_SECONDS
        return available

    @Service.task
    async def _watch_for_failure(self) -> None:
        """End a worker that cannot go on; its supervisor restarts it from its checkpoints."""
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
            "%s/%d offset %d becomes a dead letter: %s",
            topic,
            record.partition,
            record.offset,
            reason,
        )
        key, value, headers = dead_letter(topic, record, reason)
        await self.runtime.outputs.send_with(
            self.options.dead_letter_topic, record.partition, key, value, headers, tracker
        )

    def after_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Call `on_checkpoint`."""
        self.on_checkpoint(checkpoint)

    def after_chunk(self, partition: Partition, fold: Fold) -> None:
        """Call `on_chunk_folded`."""
        self.on_chunk_folded(partition, fold)

    def on_ready(self, partition: Partition) -> None:
        """Log that the partition is ready."""
        logger.info(
            "%s ready at offset %d, %d rows restored",
            partition.spec.name,
            partition.position,
            partition.progress.restored_rows,
        )

    def on_lost(self, partition: Partition) -> None:
        """Call `on_partition_lost`."""
        self.on_partition_lost(partition)

    def step(self, name: str, step: str) -> None:
        """Call `on_step`, if it is set; for any thread."""
        if self.on_step is not None:
            self.on_step(name, step)


def _beyond(folded: Mapping[Source, int], ends: Mapping[Source, Ends]) -> dict[Source, str]:
    """Return the sources that end before what has been folded, with the reason to show."""
    return {
        source: f"it ends at offset {ends[source].high}, but was folded up to {position}: "
        "the topic was created again, or has lost records"
        for source, position in folded.items()
        if source in ends and ends[source].high < position
    }
