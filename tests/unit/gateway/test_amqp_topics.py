"""Topic exchanges, by a real AMQP client at a gateway whose folds run in memory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractQueue
from aiormq.exceptions import ChannelPreconditionFailed, DeliveryError
from one_worker import World, start, stop
from test_amqp_door import SECONDS, connect, http

from streams.client import Client
from streams.folds import patterns
from streams.folds.tables import QUEUES
from streams.gateway.amqp import exchanges, queue_methods


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = await start()
    yield found
    await stop(found)


async def keys_of(queue: AbstractQueue) -> list[str | None]:
    """Return the routing keys of what a queue holds, and empty it."""
    found = []
    while (message := await queue.get(fail=False, no_ack=True)) is not None:
        found.append(message.routing_key)
    return found


async def test_a_message_reaches_the_queues_whose_patterns_match_once(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel(on_return_raises=True)
        exchange = await channel.declare_exchange("T/1", "topic", durable=True)
        queues = [await channel.declare_queue(name) for name in ("a", "b", "all")]
        for queue, pattern in zip([0, 0, 1, 2], ["stock.*", "*.nyc", "stock.#", "#"], strict=True):
            await queues[queue].bind(exchange, pattern)
        for key in ("stock.nyc", "stock", "news.nyc.today"):
            await exchange.publish(aio_pika.Message(b"x"), key, mandatory=True)

        assert await keys_of(queues[0]) == ["stock.nyc"]
        assert await keys_of(queues[1]) == ["stock.nyc", "stock"]
        assert await keys_of(queues[2]) == ["stock.nyc", "stock", "news.nyc.today"]

        # Without one pattern, the others are still there
        await queues[0].unbind(exchange, "stock.*")
        await queues[2].unbind(exchange, "#")
        await exchange.publish(aio_pika.Message(b"x"), "boots.nyc", mandatory=True)
        assert await keys_of(queues[0]) == ["boots.nyc"]
        with pytest.raises(DeliveryError):  # bound, but to nothing like this
            await exchange.publish(aio_pika.Message(b"x"), "news", mandatory=True)
        # And a deleted exchange has none
        await exchange.delete()
        again = await channel.declare_exchange("T/1", "topic")
        with pytest.raises(DeliveryError):
            await again.publish(aio_pika.Message(b"x"), "stock.nyc", mandatory=True)


async def test_topics_meet_http(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("q")
        await queue.bind("amq.topic", "a.#")
        await http(world, "PUT", "/v1/groups/amq.topic%2F/queues/web/patterns/%23.b")
        content = {"body": "from http", "headers": {"routing-key": "a.b"}}
        await http(world, "POST", "/v1/groups/amq.topic%2F/messages", content)
        exchange = await channel.get_exchange("amq.topic")
        await exchange.publish(aio_pika.Message(b"from amqp"), "a.c")

        got = [await queue.get(timeout=SECONDS, no_ack=True) for _ in range(2)]
        assert [(one.body, one.exchange, one.routing_key) for one in got] == [
            (b"from http", "amq.topic", "a.b"),
            (b"from amqp", "amq.topic", "a.c"),
        ]
        shown = await http(world, "GET", "/v1/queues/web/messages")
        assert [one["body"] for one in shown["messages"]] == ["from http"]
        state = await http(world, "GET", "/v1/groups/amq.topic%2F/queues/web/patterns")
        assert state == {"bound": True, "patterns": ["#.b"], "patterns_of_group": 2}
        reached = await http(world, "GET", "/v1/groups/amq.topic%2F/queues?routing_key=a.b")
        assert reached == {"queues": ["q", "web"], "next": None}
        await http(world, "DELETE", "/v1/groups/amq.topic%2F/queues/web/patterns/%23.b")
        assert (await http(world, "GET", "/v1/queues/web"))["groups"] == 0


async def test_an_exchange_has_room_for_so_many_bindings(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_methods, "MOST_PATTERNS", 2)
    async with await connect(world) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("q")
        for pattern in ("a", "b", "a"):
            await queue.bind("amq.topic", pattern)
        with pytest.raises(ChannelPreconditionFailed, match="has 2 bindings"):
            await queue.bind("amq.topic", "c")

        # Others have taken what was left since this client looked
        monkeypatch.setattr(queue_methods, "MOST_PATTERNS", 3)
        monkeypatch.setattr(patterns, "MOST_PATTERNS", 2)
        channel = await connection.channel()
        queue = await channel.get_queue("q")
        with pytest.raises(ChannelPreconditionFailed, match="has 3 bindings"):
            await queue.bind("amq.topic", "c")
        assert world.dead == ["the bindings of a group may have 2 patterns at most"]


async def test_a_message_dies_in_a_topic_exchange(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        await channel.declare_exchange("dead", "topic")
        graves = [await channel.declare_queue(name) for name in ("grave", "other")]
        await graves[0].bind("dead", "jobs.#")
        await graves[1].bind("dead", "mails.#")
        arguments: Any = {"x-dead-letter-exchange": "dead"}
        queue = await channel.declare_queue("jobs.new", arguments=arguments)
        await channel.default_exchange.publish(aio_pika.Message(b"x"), "jobs.new")
        message = await queue.get(timeout=SECONDS)
        assert message is not None
        await message.reject(requeue=False)
        letter = await graves[0].get(timeout=SECONDS, no_ack=True)
        assert letter is not None
        assert (letter.exchange, letter.routing_key) == ("dead", "jobs.new")
        assert await keys_of(graves[1]) == []


async def test_bindings_end_with_their_exchange(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel(on_return_raises=True)
        for kind in ("direct", "topic", "fanout"):
            queues = [await channel.declare_queue(name) for name in ("a", "b")]
            # Given bindings to an exchange, with different keys, and to one with a similar name
            both = [await channel.declare_exchange(f"E{end}", kind) for end in ("", "2")]
            for exchange in both:
                for queue in queues:
                    for key in ("k", "l.m"):
                        await queue.bind(exchange, key)
            # When it is deleted, but not while it is used
            with pytest.raises(ChannelPreconditionFailed, match="in use"):
                await channel.exchange_delete("E", if_unused=True)
            channel = await connection.channel(on_return_raises=True)
            await channel.exchange_delete("E")
            # Then one of its name has no bindings, and the other one has its own
            exchange = await channel.declare_exchange("E", kind)
            with pytest.raises(DeliveryError):
                await exchange.publish(aio_pika.Message(b"x"), "k", mandatory=True)
            await (await channel.get_exchange("E2")).publish(aio_pika.Message(b"x"), "l.m")
            await channel.exchange_delete("E", if_unused=True)
            await channel.exchange_delete("E2")
            for name in ("a", "b"):
                assert (await http(world, "GET", f"/v1/queues/{name}"))["groups"] == 0, kind
                assert await keys_of(await channel.get_queue(name)) == ["l.m"]


async def test_a_known_exchange_is_used_while_the_table_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanges, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(exchanges, "PATIENCE_SECONDS", 0.01)
    async with await connect(world) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("E", "topic")
        queue = await channel.declare_queue("q")
        await queue.bind(exchange, "#")
        place = world.partition(QUEUES, 0)
        place.ready = False  # its partition is moving
        for number in range(3):
            await exchange.publish(aio_pika.Message(b"%d" % number), "k", mandatory=False)
        place.ready = True
        got = [await queue.get(timeout=SECONDS, no_ack=True) for _ in range(3)]
        assert [message.body for message in got] == [b"0", b"1", b"2"]
        await exchange.delete()


async def test_the_python_client_and_the_command_bind_patterns(world: World) -> None:
    url = world.settings.advertised_url
    async with Client(url) as client:
        await client.bind("g", "q", pattern="a.*")
        await client.bind("g", "q", pattern="")
        with pytest.raises(ValueError, match="not both"):
            await client.bind("g", "q", session="s", pattern="a")
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams", "bind", "g", "h", "q", "--pattern", "#.z"),
            *("--url", url),
        )
        assert await command.wait() == 0
        assert await client.patterns("g", "q") == ["", "#.z", "a.*"]
        assert await client.patterns("h", "q") == ["#.z"]
        await client.publish("g", "yes", headers={"routing-key": "a.b"})
        await client.publish("g", "no", headers={"routing-key": "b"})
        await client.unbind("g", "q", pattern="a.*")
        await client.publish("g", "no", headers={"routing-key": "a.b"})
        assert await client.patterns("g", "q") == ["", "#.z"]
    shown = await http(world, "GET", "/v1/queues/q/messages")
    assert [message["body"] for message in shown["messages"]] == ["yes"]
