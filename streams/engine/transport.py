"""Faust's transport for chunked topics: a subclass of its aiokafka driver.

aiokafka joins the consumer group and knows the assignment; Faust's assignor, rebalance
and command line are unchanged.  aiokafka does not fetch *chunked* topics and changelogs: their
partitions are paused in it, and the engine's own readers deliver them (see
`streams.engine.source`).  Other topics of the app are read by stock Faust.

A chunk takes this way: source reader -> `Engine` -> `Consumer.arrive` -> Faust's agent ->
`Table.fold` -> `Engine.accept`.  The detour through the agent keeps Faust's model of an app,
and its command line.  See `streams.engine.chunk_topic`.

Entry point `faust.transports`, name `streams`: ``App(broker="streams://host:port")``.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, cast

import aiokafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaError,
    RebalanceInProgressError,
)
from aiokafka.structs import OffsetAndMetadata
from aiokafka.structs import TopicPartition as KafkaTP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.engine.chunk_topic import ChunkTopic
from streams.engine.contact import Contact
from streams.engine.source import Chunk
from streams.pauses import Pauses

logger = logging.getLogger(__name__)

CONNECT_PAUSES: Final = (0.1, 0.5)
"""First and longest pause, in seconds, of an aiokafka client that cannot connect to a broker."""
COORDINATOR_PAUSES: Final = (0.1, 2.0)
"""The same for looking for the group's coordinator again, when no heartbeat was accepted since."""


def slow_down(client: AIOKafkaClient) -> None:
    """Have a client of aiokafka pause after each broker that it cannot connect to.

    Some of aiokafka's loops try again at once, others ten times a second.  All of them come
    through here.  The pauses end with a connection to any broker.
    """
    pauses = Pauses(*CONNECT_PAUSES)
    connect = client._get_conn

    async def connect_slowly(*args: Any, **kwargs: Any) -> Any:
        connection = await connect(*args, **kwargs)
        if connection is None:
            await asyncio.sleep(pauses.next())
        else:
            pauses.reset()
        return connection

    client._get_conn = connect_slowly


class CoordinatorSearch:
    """Finds the group's coordinator, in place of `ensure_coordinator_known` of aiokafka.

    aiokafka pauses a tenth of a second, and not at all when a coordinator that it finds fails
    at once.  Here pauses grow until a heartbeat is accepted.
    """

    def __init__(self, coordinator: Any, contact: Contact) -> None:
        self._coordinator = coordinator
        self._contact = contact
        self._pauses = Pauses(*COORDINATOR_PAUSES)
        self._tried = False

    def accepted(self) -> None:
        """Search without a pause next time: a heartbeat was accepted, or a group was joined."""
        self._tried = False
        self._pauses.reset()
        self._contact.answered()

    async def run(self) -> None:
        """Return when the coordinator is known, or the consumer closes.

        Raises:
            KafkaError: the search cannot succeed, because of missing permissions for example.
        """
        if self._known():
            return
        closing = self._coordinator._closing
        async with self._coordinator._coordinator_lookup_lock:
            while not self._known() and not closing.done():
                if self._tried:
                    await asyncio.wait([closing], timeout=self._pauses.next())
                self._tried = True
                await self._try()

    def _known(self) -> bool:
        return self._coordinator.coordinator_id is not None

    async def _try(self) -> None:
        coordinator = self._coordinator
        client, group = coordinator._client, coordinator.group_id
        try:
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        except GroupAuthorizationFailedError as exc:
            raise GroupAuthorizationFailedError(group) from exc
        except KafkaError as exc:
            if not exc.retriable:
                raise
            self._contact.failed(f"cannot find the coordinator of group {group}: {exc}")
            await client.force_metadata_update()
            return
        if await client.ready(node, group=ConnectionGroup.COORDINATION):
            coordinator.coordinator_id = node
            coordinator._coordinator_dead_fut = asyncio.get_running_loop().create_future()
        else:
            self._contact.failed(f"cannot connect to node {node}, the coordinator of group {group}")


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that runs aiokafka."""

    last_heartbeat: float = float("-inf")
    """Monotonic time when the last accepted heartbeat was sent."""
    assigned: frozenset[TP] = frozenset()
    """Partitions of the last assignment, which the engine may not have seen yet."""
    missed_generation = False
    """Whether the group had a generation without this worker, and the engine has not yet
    checked which partitions another worker wrote to."""
    joining = False
    """Whether this worker is about to join the next generation of the group."""
    _generation = -1
    _search: CoordinatorSearch | None = None

    async def on_start(self) -> None:
        """Start aiokafka's consumer and record its heartbeats."""
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        contact = cast(Consumer, self.consumer).contact
        search = self._search = CoordinatorSearch(coordinator, contact)
        beat, commit = coordinator._do_heartbeat, coordinator._do_commit_offsets

        async def noted() -> bool:
            sent = time.monotonic()
            accepted = bool(await beat())
            if accepted:
                self.last_heartbeat = sent
                search.accepted()
            else:
                contact.failed("no heartbeat is accepted")
            return accepted

        async def held_back(assignment: Any, offsets: Any) -> None:
            # On the same connection, a commit would wait behind the join and arrive with a
            # generation that has ended. aiokafka would then join again, which would do the
            # same to the other workers, and so on.
            if self.joining:
                raise RebalanceInProgressError("offsets are committed after the rebalance")
            await commit(assignment, offsets)

        # aiokafka leaves the group for good when it has not been polled for Faust's
        # `broker_max_poll_interval` (1,000 s). When the engine reads all topics, it is never
        # polled; `streams.engine.watchdog` checks that the engine makes progress.
        coordinator._max_poll_interval = math.inf
        coordinator._do_heartbeat = noted
        coordinator.ensure_coordinator_known = search.run
        coordinator._do_commit_offsets = held_back

    async def on_thread_stop(self) -> None:
        """Leave the group, so that partitions move now and not after the session timeout.

        aiokafka does not leave for a static member; a worker that is stopped should.
        """
        if self._consumer is not None:
            self._consumer._coordinator._group_instance_id = None
        await super().on_thread_stop()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Reject commits until the next assignment."""
        self.joining = True
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Pause the partitions that the engine reads, then let Faust take the assignment."""
        # Generations are numbered without gaps. After a gap, another worker may have owned
        # partitions that this worker has again.
        self.missed_generation = self.missed_generation or generation_id != self._generation + 1
        self._generation = generation_id
        self.joining = False
        self.assigned = frozenset(assigned)
        self.last_heartbeat = time.monotonic()
        if self._search is not None:
            self._search.accepted()
        consumer = self._ensure_consumer()
        foreign = cast(Consumer, self.consumer).engine_partitions(assigned)
        if foreign:
            consumer.pause(*(KafkaTP(tp.topic, tp.partition) for tp in foreign))
        await super().on_partitions_assigned(assigned, generation_id)

    async def commit_positions(self, offsets: Mapping[TP, int]) -> bool:
        """Commit offsets for lag tools; a failure is harmless and only logged."""
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
            logger.debug("source offsets were not committed, trying again later: %r", exc)
            return False
        return True

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust hard-codes 1.5 s, which delays topics that stock agents read.
        consumer._fetch_max_wait_ms = 100
        slow_down(consumer._client)
        return consumer


class Consumer(driver.Consumer):
    """Faust's consumer; it passes on chunks besides stock messages."""

    _thread: ConsumerThread

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def engine_partitions(self, tps: Iterable[TP]) -> set[TP]:
        """Return the partitions among `tps` that the engine reads and aiokafka must not."""
        app = cast(Any, self.app)
        topics = app.engine.source_topics | app.tables.changelog_topics
        return {tp for tp in tps if tp.topic in topics}

    @property
    def contact(self) -> Contact:
        """Whether Kafka answers this worker."""
        return cast(Contact, cast(Any, self.app).engine.contact)

    @property
    def last_heartbeat(self) -> float:
        """Monotonic time when the last accepted heartbeat was sent."""
        return self._thread.last_heartbeat

    @property
    def missed_generation(self) -> bool:
        """Whether another worker may have owned partitions since the engine last checked."""
        return self._thread.missed_generation

    @property
    def joining(self) -> bool:
        """Whether this worker is about to join the next generation of the group."""
        return self._thread.joining

    def acknowledge_generation(self, generation: int) -> None:
        """Record that the engine has checked the partitions it kept in this generation."""
        if self._thread._generation == generation:
            self._thread.missed_generation = False

    def is_assigned(self, topic: str, partition: int) -> bool:
        """Whether the last assignment includes a partition, even if the engine has not seen it."""
        return TP(topic, partition) in self._thread.assigned

    def arrive(self, chunks: Iterable[Chunk]) -> None:
        """Hand chunks that were read together to the agents of their topics, in order.

        During a rebalance Faust stops the flow to agents.  This worker keeps its partitions
        until the next assignment, and a writer that is too late is fenced.  So the engine gets
        the chunks directly meanwhile, and partitions that do not move never stop.
        """
        by_topic: dict[str, list[Chunk]] = {}
        for chunk in chunks:
            by_topic.setdefault(chunk.topic, []).append(chunk)
        for topic, together in by_topic.items():
            channels = self._channels(topic, together[-1].partition) if self.flow_active else []
            for channel in channels:
                channel.put_chunks(together)
            if not channels:
                cast(Any, self.app).engine.accept_of_topic(topic, together)

    def _channels(self, topic: str, partition: int) -> list[ChunkTopic]:
        """Return the channels of the agents that read a topic; none before they have started."""
        return [
            channel
            for channel in self.app.topics
            if isinstance(channel, ChunkTopic) and channel.takes(topic, partition)
        ]

    async def commit_positions(self, offsets: Mapping[TP, int]) -> bool:
        """Commit the source offsets of checkpoints to the group, for lag tools."""
        committed = await self._thread.commit_positions(offsets)
        if committed:
            self._committed_offset.update(offsets)
            self.app.monitor.on_tp_commit(dict(offsets))
        return committed

    async def wait_empty(self) -> None:
        """Commit what agents of stock topics have acknowledged.

        There is no need to wait for chunks: the next owner of a partition folds them again
        from the last checkpoint.
        """
        self._clean_unacked_messages()
        await self.commit_and_end_transactions()

    async def perform_seek(self) -> None:
        """Seek stock topics to their committed offsets; the engine seeks the others."""
        assigned = self.assignment()
        if assigned - self.engine_partitions(assigned):
            await super().perform_seek()

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Declare a topic, unless the engine creates it."""
        app = cast(Any, self.app)
        if topic not in app.engine.source_topics | app.tables.changelog_topics:
            await super().create_topic(topic, *args, **kwargs)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Look for stalls of partitions that aiokafka reads; the engine watches the others."""
        if not self.engine_partitions([tp]):
            super().verify_event_path(now, tp)


class Producer(driver.Producer):
    """Faust's producer, of stock topics; it pauses while it cannot connect."""

    def _new_producer(self, transactional_id: str | None = None) -> aiokafka.AIOKafkaProducer:
        producer = super()._new_producer(transactional_id)
        slow_down(producer.client)
        return producer


class Transport(driver.Transport):
    """Faust's transport for the URL scheme ``streams``."""

    Consumer: ClassVar[type[Consumer]] = Consumer
    Producer: ClassVar[type[Producer]] = Producer
    driver_version = f"streams on aiokafka={aiokafka.__version__}"
