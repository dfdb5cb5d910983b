"""What a started worker has: caches, readers and producers, made and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streams.engine.contact import Contact
from streams.engine.control import Control
from streams.engine.database import Resources
from streams.engine.options import EngineOptions
from streams.engine.output import OutputProducer, Publisher
from streams.engine.pacing import SendPacer
from streams.engine.source import Chunk, SourceReader
from streams.engine.standby import StandbyFollower

CLOSE_SECONDS = 5.0
"""How long a producer may take to send what is queued when the worker stops."""


class Runtime:
    """Everything here runs from its construction until `close`."""

    def __init__(
        self,
        options: EngineOptions,
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[list[Chunk]], None],
        backlog: Callable[[], int],
        topic_id: Callable[[str], bytes],
        tombstone_ms: int,
        stopping: Callable[[], bool],
        contact: Contact,
    ) -> None:
        """Connect to Kafka.

        Args:
            deliver: takes chunks of source topics, in the event loop.
            backlog: returns how many records wait to be folded by this worker.
            topic_id: returns the 16 bytes that identify a topic; called from any thread.
            tombstone_ms: how old a database may be that is continued from.
            stopping: whether the worker is stopping; called from any thread.
            contact: whether Kafka answers.
        """
        client = options.client
        self.resources = Resources(options.cache_bytes, options.write_buffer_bytes)
        self.control = Control(client, options.app_id, stopping)
        self.outputs = OutputProducer(client)
        self.pacer = SendPacer(loop, self.outputs, backlog)
        self.publisher = Publisher(client)
        self.source = SourceReader(
            client,
            options.app_id,
            loop,
            deliver,
            options.chunk_records,
            options.chunk_bytes,
            pause=contact.pause,
        )
        self.standby = StandbyFollower(
            client, options.app_id, self.resources, topic_id, tombstone_ms
        )

    @property
    def failure(self) -> str | None:
        """Why one of them has failed for good, or None."""
        if self.source.failure is not None:
            return f"source reader: {self.source.failure!r}"
        if self.standby.failure is not None:
            return f"standby follower: {self.standby.failure!r}"
        if self.outputs.fatal is not None:
            return f"output producer: {self.outputs.fatal.str()}"
        if self.publisher.fatal is not None:
            return f"publisher: {self.publisher.fatal.str()}"
        return None

    def outputs_queued(self) -> int:
        """Return how many outputs of folds are not confirmed by Kafka."""
        return self.outputs.queued() + self.pacer.waiting()

    async def close(self) -> None:
        """Stop readers, then producers; the partitions must be closed."""
        await asyncio.to_thread(self.source.close)
        await asyncio.to_thread(self.standby.close)
        await asyncio.to_thread(self.publisher.close, CLOSE_SECONDS)
        self.pacer.close()
        await asyncio.to_thread(self.outputs.close, CLOSE_SECONDS)
        await asyncio.to_thread(self.control.close)
