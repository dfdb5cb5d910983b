"""Source topics whose records reach Faust's agents as lists of chunks, without an event for each.

Faust makes an event and a message of what it passes to an agent, decodes it, tracks its
acknowledgement and tells its sensors of it: several times the cost of folding one record.  None
of that is needed for chunks, whose positions are the engine's.  So `Consumer.arrive` puts them
into the queues of the agents' channels, and `ChunkStream` takes them out again.  Faust still
starts, restarts and stops the agents.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import faust
from faust.types import TP

from streams.engine.source import Chunk


class ChunkTopic(faust.Topic):
    """A source topic, and the channels through which agents get its chunks."""

    def __init__(self, app: Any, **options: Any) -> None:
        # Without a limit: the source reader pauses partitions that have much to fold.
        super().__init__(app, **{**options, "maxsize": 0})

    def takes(self, topic: str, partition: int) -> bool:
        """Whether chunks that end with one of this partition are for this channel."""
        active = self.active_partitions
        return topic in self.topics and (active is None or TP(topic, partition) in active)

    def put_chunks(self, chunks: list[Chunk]) -> None:
        """Queue chunks for the agent of this channel."""
        self.queue.put_nowait(chunks)


class ChunkStream(faust.Stream[Any]):
    """The stream of a `ChunkTopic`'s channel: yields lists of chunks as they were queued."""

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate without Faust's events, unless the stream has processors, such as a filter."""
        if self._processors:
            usual: AsyncIterator[Any] = super().__aiter__()
            return usual
        iterator: AsyncGenerator[Any, None] = self._chunks()
        self._active_agens.add(iterator)
        return iterator

    async def _chunks(self) -> AsyncGenerator[Any, None]:
        self._finalized = True
        started_here = await self.maybe_start()
        channel: Any = self.channel
        queue = channel.queue
        try:
            while not self.should_stop:
                chunks = await queue.get()
                self.events_total += 1
                yield chunks
        except StopAsyncIteration:
            return  # Faust puts it into the queue when it stops an agent
        finally:
            self._channel_stop_iteration(channel)
            if started_here:
                await self.stop()
                self.service_reset()
