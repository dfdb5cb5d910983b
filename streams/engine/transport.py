"""Faust's transport for chunked topics: a subclass of its aiokafka driver.

aiokafka joins the consumer group and knows the assignment; Faust's assignor, rebalance
and command line are untouched.  The records of *chunked* topics (and of the changelogs)
are not fetched by aiokafka, though: their partitions are paused in it, and the engine's
own readers deliver them (see `streams.engine.source`).  Other topics of the app are read
the stock way.

Entry point `faust.transports`, name `streams`: ``App(broker="streams://host:port")``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, cast

import aiokafka
from aiokafka.errors import IllegalStateError, KafkaError, RebalanceInProgressError
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaTP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode import Service

from streams.engine.source import Chunk

logger = logging.getLogger(__name__)


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that aiokafka runs in."""

    last_heartbeat: float = float("-inf")
    """Monotonic time at which the last heartbeat that the group accepted was sent."""
    assigned: frozenset[TP] = frozenset()
    """What the last assignment gave to this worker, known before the engine has seen it."""
    missed_generation = False
    """Whether the group had a generation without this worker, and the engine has not yet
    looked what happened to its partitions meanwhile."""
    joining = False
    """Whether this worker is about to join the next generation."""
    _generation = -1

    async def on_start(self) -> None:
        """Start aiokafka's consumer, and note its heartbeats from then on."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        beat, commit = coordinator._do_heartbeat, coordinator._do_commit_offsets

        async def noted() -> bool:
            sent = time.monotonic()
            accepted = bool(await beat())
            if accepted:
                self.last_heartbeat = sent
            return accepted

        async def held_back(assignment: Any, offsets: Any) -> None:
            # Behind a join that waits for the others, on the same connection, a commit would
            # arrive with a generation that is over by then; and aiokafka answers that by
            # joining once more, which does the same to the others, and so on.
            if self.joining:
                raise RebalanceInProgressError("offsets are committed when it is over")
            await commit(assignment, offsets)

        # aiokafka leaves the group, and does not join again, when nobody has polled it for
        # Faust's `broker_max_poll_interval` (1,000 s).  Nobody ever does where the engine reads
        # all topics; whether the engine makes progress is watched by `streams.engine.watchdog`.
        coordinator._max_poll_interval = math.inf
        coordinator._do_heartbeat = noted
        coordinator._do_commit_offsets = held_back

    async def on_thread_stop(self) -> None:
        """Leave the group, so that partitions move at once and not after a session timeout.

        aiokafka never leaves for a static member; a member that is stopped on purpose should.
        """
        if self._consumer is not None:
            self._consumer._coordinator._group_instance_id = None
        await super().on_thread_stop()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Hold commits back until the next assignment."""
        self.joining = True
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Pause what is not read through aiokafka, then let Faust take the assignment."""
        # Generations are numbered one by one: with one missed, partitions that this worker
        # has again may have been somebody else's.  What it has lost stops answering at once.
        self.missed_generation = self.missed_generation or generation_id != self._generation + 1
        self._generation = generation_id
        self.joining = False
        self.assigned = frozenset(assigned)
        self.last_heartbeat = time.monotonic()
        consumer = self._ensure_consumer()
        foreign = cast(Consumer, self.consumer).engine_partitions(assigned)
        if foreign:
            consumer.pause(*(KafkaTP(tp.topic, tp.partition) for tp in foreign))
        await super().on_partitions_assigned(assigned, generation_id)

    async def commit_positions(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets for lag tools; a failure is no harm and is only logged."""
        return cast(bool, await self.call_thread(self._commit_positions, offsets))

    async def _commit_positions(self, offsets: Mapping[TP, int]) -> bool:
        consumer = self._ensure_consumer()
        assigned = consumer.assignment()
        known = {
            KafkaTP(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if KafkaTP(tp.topic, tp.partition) in assigned
        }
        if not known:
            return False
        try:
            await asyncio.wait_for(consumer.commit(known), timeout=5.0)
        except (KafkaError, IllegalStateError, TimeoutError) as exc:
            logger.debug("offsets not committed: %r", exc)
            return False
        return True

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Stock Faust hard-codes 1.5 s, which a topic read the stock way would wait for.
        consumer._fetch_max_wait_ms = 100
        return consumer


class Consumer(driver.Consumer):
    """Faust's consumer, which hands on chunks beside stock messages."""

    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._arrived: asyncio.Queue[list[Chunk]] = asyncio.Queue()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def engine_partitions(self, tps: Iterable[TP]) -> set[TP]:
        """The partitions among `tps` that the engine reads and aiokafka must not fetch."""
        app = cast(Any, self.app)
        topics = app.engine.source_topics | app.tables.changelog_topics
        return {tp for tp in tps if tp.topic in topics}

    @property
    def last_heartbeat(self) -> float:
        """Monotonic time at which the last accepted heartbeat was sent."""
        return self._thread.last_heartbeat

    @property
    def missed_generation(self) -> bool:
        """Whether partitions may have been somebody else's since the engine last looked."""
        return self._thread.missed_generation

    def acknowledge_generation(self, generation: int) -> None:
        """Take note that the engine has seen to what happened before a generation began."""
        if self._thread._generation == generation:
            self._thread.missed_generation = False

    def is_assigned(self, topic: str, partition: int) -> bool:
        """Whether the last assignment, seen by the engine or not, has a partition in it."""
        return TP(topic, partition) in self._thread.assigned

    def arrive(self, chunks: Iterable[Chunk]) -> None:
        """Take chunks that were read together, to be handed to their agents in order."""
        by_topic: dict[str, list[Chunk]] = {}
        for chunk in chunks:
            by_topic.setdefault(chunk.topic, []).append(chunk)
        for together in by_topic.values():
            self._arrived.put_nowait(together)

    @Service.task
    async def _hand_on_chunks(self) -> None:
        """Give the chunks of a topic that were read together to its agents, as one event.

        In a rebalance Faust stops the flow to its agents.  The partitions of this worker
        stay its own until the next assignment says otherwise, and a writer that came too
        late is fenced; so the engine is given their chunks directly meanwhile, and those
        that do not move never stop.
        """
        engine = cast(Any, self.app).engine
        while not self.should_stop:
            chunks = await self._arrived.get()
            if self.flow_active:
                try:
                    await self.callback(self._chunks_message(chunks))
                    continue
                except KeyError:  # Faust's agents do not know this partition yet
                    pass
            engine.accept_of_topic(chunks[0].topic, chunks)

    def _chunks_message(self, chunks: list[Chunk]) -> ConsumerMessage:
        last = chunks[-1]
        timestamp = last.records[-1].timestamp / 1000.0 if last.records else 0.0
        return ConsumerMessage(
            last.topic,
            last.partition,
            last.end - 1,
            timestamp,
            1,  # LogAppendTime
            [],
            None,
            cast(Any, chunks),
            None,
            None,
            None,
            TP(last.topic, last.partition),
            generation_id=self.app.consumer_generation_id,
        )

    async def commit_positions(self, offsets: Mapping[TP, int]) -> bool:
        """Commit source offsets of checkpoints to the group, for lag tools."""
        committed = await self._thread.commit_positions(offsets)
        if committed:
            self._committed_offset.update(offsets)
            self.app.monitor.on_tp_commit(dict(offsets))
        return committed

    async def wait_empty(self) -> None:
        """Commit what stock topics have acknowledged.

        Chunks need no waiting for: a partition that moves is folded again from its last
        checkpoint by its next owner.
        """
        self._clean_unacked_messages()
        await self.commit_and_end_transactions()

    async def perform_seek(self) -> None:
        """Seek stock topics to their committed offsets; the engine seeks its own."""
        assigned = self.assignment()
        if assigned - self.engine_partitions(assigned):
            await super().perform_seek()

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Declare a topic, unless the engine has made it already."""
        app = cast(Any, self.app)
        if topic not in app.engine.source_topics | app.tables.changelog_topics:
            await super().create_topic(topic, *args, **kwargs)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Look for stalls of partitions that aiokafka reads; the engine watches its own."""
        if not self.engine_partitions([tp]):
            super().verify_event_path(now, tp)


class Transport(driver.Transport):
    """Registered with Faust under the URL scheme ``streams``."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    driver_version = f"streams on aiokafka={aiokafka.__version__}"
