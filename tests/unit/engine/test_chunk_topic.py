"""Chunks on their way to Faust's agents: as they were read, in order, without events."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.engine.application import App
from streams.engine.chunk_topic import ChunkStream, ChunkTopic
from streams.engine.options import EngineOptions
from streams.engine.source import Chunk
from streams.engine.transport import Consumer

PATIENCE_SECONDS = 120.0


class World:
    """An app with agents but without Kafka, its consumer, and what reaches whom."""

    def __init__(self, folder: Path) -> None:
        self.app = App(EngineOptions(app_id="counts", data=folder))
        self.direct: list[list[Chunk]] = []
        engine: Any = SimpleNamespace(
            accept_of_topic=lambda topic, chunks: self.direct.append(chunks)
        )
        self.app.engine = engine
        self.consumer: Any = object.__new__(Consumer)
        self.consumer.app = self.app
        self.consumer.flow_active = True

    def agent(self, topic: str) -> tuple[Any, asyncio.Queue[Any]]:
        """Declare an agent that puts what it gets into a queue."""
        got: asyncio.Queue[Any] = asyncio.Queue()

        @self.app.agent(self.app.chunks(topic), name=topic)
        async def agent(stream: Any) -> None:
            async for together in stream:
                got.put_nowait(together)

        return agent, got


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def chunk(begin: int, topic: str = "words", partition: int = 0) -> Chunk:
    return Chunk(topic, partition, begin, begin + 1, [], begin + 1, 1)


async def taken(got: asyncio.Queue[Any]) -> Any:
    return await asyncio.wait_for(got.get(), PATIENCE_SECONDS)


async def test_agents_get_what_was_read_together(world: World) -> None:
    # Given agents of two topics
    words, got_words = world.agent("words")
    names, got_names = world.agent("names")
    await words.start()
    await names.start()
    # When chunks of both were read together, Then each agent gets its own, as one list
    first, second, other = chunk(0), chunk(7, partition=3), chunk(0, "names")
    world.consumer.arrive([first, other, second])
    assert await taken(got_words) == [first, second]
    assert await taken(got_names) == [other]
    # and in order
    for begin in range(1, 100):
        world.consumer.arrive([chunk(begin)])
    assert [(await taken(got_words))[0].begin for _ in range(1, 100)] == list(range(1, 100))
    assert not world.direct
    await words.stop()
    await names.stop()


async def test_the_engine_gets_them_directly_before_agents_and_during_a_rebalance(
    world: World,
) -> None:
    # Given no agent that has started
    words, got = world.agent("words")
    early = chunk(0)
    world.consumer.arrive([early])
    assert world.direct == [[early]]
    # and a rebalance after that
    await words.start()
    world.consumer.flow_active = False
    meanwhile = chunk(1)
    world.consumer.arrive([meanwhile])
    assert world.direct == [[early], [meanwhile]]
    assert got.empty()
    await words.stop()


async def test_agents_of_single_partitions_get_only_theirs(world: World) -> None:
    topic: Any = world.app.chunks("words")
    assert topic.takes("words", 5)
    assert not topic.takes("names", 5)
    alone = topic.clone(is_iterator=True, active_partitions={TP("words", 5)})
    assert isinstance(alone, ChunkTopic)
    assert alone.takes("words", 5)
    assert not alone.takes("words", 6)


async def test_a_stream_with_processors_has_them_applied(world: World) -> None:
    stream = world.app.stream(world.app.chunks("words"))
    assert isinstance(stream, ChunkStream)
    stream.add_processor(lambda together: together[0].begin)
    world.app.flow_control.resume()
    got = anext(aiter(stream))
    waiting = asyncio.ensure_future(got)
    await asyncio.sleep(0)
    world.consumer.arrive([chunk(7)])
    assert await asyncio.wait_for(waiting, PATIENCE_SECONDS) == 7
    await stream.stop()


async def test_other_streams_are_those_of_faust(world: World) -> None:
    assert not isinstance(world.app.stream(world.app.topic("other")), ChunkStream)


async def test_an_agent_that_is_cancelled_ends_in_peace(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an agent that waits for chunks, and one with a chunk that it has not taken yet
    words, got = world.agent("words")
    names, _ = world.agent("names")
    await words.start()
    await names.start()
    world.consumer.arrive([chunk(0)])
    await taken(got)
    world.consumer.arrive([chunk(0, "names")])
    # When a worker stops: it cancels its agents, then it stops them
    for agent in (words, names):
        agent.cancel()
    await asyncio.wait_for(asyncio.gather(words.stop(), names.stop()), PATIENCE_SECONDS)
    # Then none has crashed
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
