"""A real AMQP client at a gateway whose folds run in memory: everything but Kafka is real."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aio_pika
import aiohttp
import aiormq
import jwt
import pytest
import trustme
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionNotImplemented,
    DeliveryError,
)
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from one_worker import World, start, stop
from pamqp import commands

SECONDS = 120


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = await start()
    yield found
    await stop(found)


async def connect(world: World, password: str = "any") -> AbstractConnection:
    port = world.settings.amqp_port
    assert port is not None
    return await aio_pika.connect(host="127.0.0.1", port=port, login="user", password=password)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


async def until_queue(world: World, queue: str, member: str, value: Any) -> None:
    async def is_so() -> bool:
        return bool((await http(world, "GET", f"/v1/queues/{queue}"))[member] == value)

    await until(is_so)


async def http(world: World, method: str, path: str, content: Any = None) -> Any:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, world.settings.advertised_url + path, json=content) as response,
    ):
        assert response.status < 300, await response.text()
        return await response.json() if response.status != 204 else None


class Sink:
    """Collects what a consumer gets."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()

    async def __call__(self, message: AbstractIncomingMessage) -> None:
        self.queue.put_nowait(message)

    async def next(self) -> AbstractIncomingMessage:
        async with asyncio.timeout(SECONDS):
            return await self.queue.get()


async def test_messages_are_confirmed_delivered_in_order_and_acknowledged(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("q", durable=True)
        sent = [b"%d" % number for number in range(300)]
        for body in sent:
            await channel.default_exchange.publish(aio_pika.Message(body), "q")
        sink = Sink()
        await queue.consume(sink)

        got = [await sink.next() for _ in sent]

        assert [message.body for message in got] == sent
        assert not any(message.redelivered for message in got)
        await got[-1].ack(multiple=True)
        await until_queue(world, "q", "depth", 0)


async def test_properties_and_routing_keys_come_out_as_they_went_in(world: World) -> None:
    headers: Any = {"nested": {"list": [1, None, {"deep": True}]}, "number": 1 << 40}
    async with await connect(world) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("E", "direct", durable=True)
        queue = await channel.declare_queue("q")
        await queue.bind(exchange, "some.kéy")
        sent = aio_pika.Message(
            b"\x00\xff", headers=headers, content_type="a/b", content_encoding="gzip", priority=9,
            correlation_id="c", reply_to="r", message_id="m", type="t", app_id="a", expiration=60,
        )  # fmt: skip
        await exchange.publish(sent, "some.kéy")
        await exchange.publish(sent, "some.kéy")  # the same message_id is not the same message

        for _ in range(2):
            got = await queue.get(timeout=SECONDS)
            assert got is not None
            assert (got.exchange, got.routing_key, got.body) == ("E", "some.kéy", b"\x00\xff")
            assert dict(got.headers) == headers
            for field in (
                "content_type", "content_encoding", "priority", "correlation_id", "reply_to",
                "message_id", "type", "app_id", "expiration",
            ):  # fmt: skip
                assert getattr(got, field) == getattr(sent, field), field
        shown = await http(world, "GET", "/v1/queues/q/messages")
        assert shown["messages"][0]["headers"]["content-type"] == "a/b"
        assert shown["messages"][0]["id"] != "m"


async def test_amqp_and_http_meet_in_groups(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("amqp-side")
        await queue.bind("amq.direct", "room")
        await http(world, "PUT", "/v1/groups/room/queues/http-side")
        await http(world, "POST", "/v1/groups/room/messages", {"body": "from http", "sender": "a"})
        exchange = await channel.get_exchange("amq.direct")
        await exchange.publish(aio_pika.Message(b"from amqp"), "room")

        first = await queue.get(timeout=SECONDS, no_ack=True)
        second = await queue.get(timeout=SECONDS, no_ack=True)
        assert (first.body, second.body) == (b"from http", b"from amqp")
        assert (first.exchange, first.routing_key) == ("amq.direct", "room")
        shown = await http(world, "GET", "/v1/queues/http-side/messages")
        assert [one["body"] for one in shown["messages"]] == ["from http", "from amqp"]


async def test_what_a_lost_connection_held_goes_to_others(world: World) -> None:
    first = await connect(world)
    channel = await first.channel()
    queue = await channel.declare_queue("q")
    await channel.default_exchange.publish(aio_pika.Message(b"1", headers={"a": 1}), "q")
    sink = Sink()
    await queue.consume(sink)
    assert not (await sink.next()).redelivered

    for one in world.gateway._amqp._connections:
        one._outbox.abort()  # as when the network breaks

    async with await connect(world) as second:
        channel = await second.channel()
        sink = Sink()
        await (await channel.get_queue("q")).consume(sink)
        again = await sink.next()
        assert (again.body, again.redelivered) == (b"1", True)
        assert dict(again.headers) == {"a": 1, "x-delivery-count": 1}
        await again.ack()


async def test_consumers_share_a_queue_and_hold_no_more_than_their_prefetch(world: World) -> None:
    async with await connect(world) as connection:
        sinks = [Sink(), Sink()]
        channels = [await connection.channel() for _ in sinks]
        for channel, sink in zip(channels, sinks, strict=True):
            await channel.set_qos(prefetch_count=2)
            await (await channel.declare_queue("q")).consume(sink)
        for number in range(10):
            await channels[0].default_exchange.publish(aio_pika.Message(b"%d" % number), "q")
        held = [await sink.next() for sink in sinks for _ in range(2)]
        assert all(sink.queue.empty() for sink in sinks)

        bodies = set()
        while held:
            message = held.pop(0)
            bodies.add(message.body)
            await message.ack()
            if len(bodies) + len(held) < 10:
                one, two = (asyncio.create_task(sink.queue.get()) for sink in sinks)
                done, left = await asyncio.wait(
                    {one, two}, return_when="FIRST_COMPLETED", timeout=SECONDS
                )
                for task in left:
                    task.cancel()
                held += [task.result() for task in done]
        assert len(bodies) == 10


async def test_rejected_messages_come_back_or_become_dead_letters(world: World) -> None:
    arguments: Any = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
    async with await connect(world) as connection:
        channel = await connection.channel()
        dead = await channel.declare_queue("dead")
        queue = await channel.declare_queue("q", arguments=arguments)
        await channel.default_exchange.publish(aio_pika.Message(b"bad", type="t"), "q")
        sink = Sink()
        await queue.consume(sink)
        await (await sink.next()).reject(requeue=True)
        again = await sink.next()
        assert again.redelivered
        await again.nack(requeue=False)

        letters = Sink()
        await dead.consume(letters)
        letter = await letters.next()
        assert (letter.body, letter.type) == (b"bad", "t")
        with pytest.raises(ChannelPreconditionFailed, match="x-dead-letter-exchange"):
            await channel.declare_queue("q")


async def test_a_message_dies_in_an_exchange_and_comes_back(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        await channel.declare_exchange("dead", "direct", durable=True)
        work = await channel.declare_queue("work", arguments={"x-dead-letter-exchange": "dead"})
        back: Any = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work"}
        retry = await channel.declare_queue("retry", arguments=back | {"x-message-ttl": 1})
        await retry.bind("dead", "task")
        source = await channel.declare_exchange("source", "direct")
        await work.bind(source, "task")
        sent = aio_pika.Message(
            b"x", headers={"x-death": "mine", "a": 1}, expiration=3600, type="t"
        )
        await source.publish(sent, "task")
        sink = Sink()
        await work.consume(sink)
        await (await sink.next()).reject()
        await until_queue(world, "retry", "depth", 1)

        async def is_back() -> bool:
            world.tick()  # does nothing until the message is too old
            return not sink.queue.empty()

        await until(is_back)
        again = await sink.next()
        assert (again.exchange, again.routing_key) == ("", "work")
        deaths: Any = again.headers["x-death"]
        told = [
            (one["queue"], one["reason"], one["exchange"], one["routing-keys"], one["count"])
            for one in deaths
        ]
        assert told == [
            ("retry", "expired", "dead", ["task"], 1),
            ("work", "rejected", "source", ["task"], 1),
        ]
        assert "original-expiration" not in deaths[0]
        assert deaths[1]["original-expiration"] == "3600000"
        assert (again.expiration, again.type) == (None, "t")
        assert abs(deaths[1]["time"].timestamp() - time.time()) < SECONDS
        first = {name: again.headers[f"x-first-death-{name}"] for name in ("reason", "queue")}
        assert first == {"reason": "rejected", "queue": "work"}
        assert again.headers["x-first-death-exchange"] == "source"
        assert again.headers["a"] == 1
        await again.ack()
        with pytest.raises(ChannelNotFoundEntity):
            await channel.declare_queue("other", arguments={"x-dead-letter-exchange": "none"})


async def test_a_message_that_kafka_does_not_confirm_is_nacked(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        await channel.declare_queue("q")
        world.away = True
        with pytest.raises(DeliveryError):
            await channel.default_exchange.publish(aio_pika.Message(b"x"), "q", mandatory=False)
        world.away = False
        await channel.default_exchange.publish(aio_pika.Message(b"y"), "q")


async def test_without_confirms_a_failure_closes_the_channel(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.declare_queue("q")
        closed = asyncio.Event()
        channel.close_callbacks.add(lambda *_: closed.set())
        world.away = True
        await channel.default_exchange.publish(aio_pika.Message(b"x"), "q", mandatory=False)
        async with asyncio.timeout(SECONDS):
            await closed.wait()
        world.away = False


async def test_a_mandatory_message_that_nobody_gets_is_returned(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel(on_return_raises=True)
        for exchange, key in (("", "nowhere"), ("amq.fanout", "any")):
            found = await channel.get_exchange(exchange) if exchange else channel.default_exchange
            with pytest.raises(DeliveryError) as refused:
                await found.publish(aio_pika.Message(b"x"), key, mandatory=True)
            assert isinstance(refused.value.frame, commands.Basic.Return)
            assert refused.value.frame.reply_code == 312


async def test_a_client_sees_at_once_what_it_unbound(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel(on_return_raises=True)
        queue = await channel.declare_queue("q")
        exchange = await channel.get_exchange("amq.direct")
        await queue.bind(exchange, "key")
        await exchange.publish(aio_pika.Message(b"x"), "key")
        await queue.unbind(exchange, "key")
        with pytest.raises(DeliveryError):
            await exchange.publish(aio_pika.Message(b"y"), "key")
        found = await channel.declare_queue("q", passive=True)
        assert found.declaration_result.message_count == 1


async def test_a_look_at_a_queue_shows_what_its_client_has_sent(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("q")
        await queue.bind("amq.direct", "key")
        world.slow = True  # Kafka has a message long before the queue has it
        exchange = await channel.get_exchange("amq.direct")
        await exchange.publish(aio_pika.Message(b"1"), "key", mandatory=False)
        assert (await http(world, "GET", "/v1/queues/q"))["depth"] == 0

        found = await channel.declare_queue("q", passive=True)
        assert found.declaration_result.message_count == 1
        await exchange.publish(aio_pika.Message(b"2"), "key", mandatory=False)
        bodies = [(await queue.get(no_ack=True)).body for _ in range(2)]
        assert bodies == [b"1", b"2"]
        assert await queue.get(fail=False) is None
        await exchange.publish(aio_pika.Message(b"3"), "key", mandatory=False)
        assert (await queue.purge()).message_count == 1
        await exchange.publish(aio_pika.Message(b"4"), "key", mandatory=False)
        assert (await queue.delete(if_unused=False, if_empty=False)).message_count == 1
        world.slow = False
        assert (await http(world, "GET", "/v1/queues/q"))["depth"] == 0


async def test_a_queue_is_empty_when_a_client_holds_the_rest(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("q")
        for _ in range(2):
            await channel.default_exchange.publish(aio_pika.Message(b"x"), "q")
        await queue.get()
        with pytest.raises(ChannelPreconditionFailed, match="is not empty"):
            await (await (await connection.channel()).get_queue("q")).delete()
        await queue.get()
        await queue.delete()  # if it is unused and empty
        assert not (await http(world, "GET", "/v1/queues/q"))["configured"]


async def test_an_exclusive_queue_is_its_connections_own_and_ends_with_it(world: World) -> None:
    first, second = await connect(world), await connect(world)
    channel = await first.channel()
    queue = await channel.declare_queue(
        exclusive=True, arguments={"x-message-ttl": 1, "x-expires": 60_000}
    )
    assert queue.name.startswith("amq.gen-")
    other = await second.channel()
    with pytest.raises(ChannelLockedResource):
        await other.declare_queue(queue.name, passive=True)
    await channel.default_exchange.publish(aio_pika.Message(b"soon too old"), queue.name)
    await asyncio.sleep(0.01)  # longer than messages live here
    sink = Sink()
    await queue.consume(sink)
    await until_queue(world, queue.name, "depth", 0)
    assert sink.queue.empty()

    await first.close()
    await until_queue(world, queue.name, "configured", False)
    other = await second.channel()
    with pytest.raises(ChannelNotFoundEntity):
        await other.declare_queue(queue.name, passive=True)
    await second.close()


async def test_an_exclusive_queue_of_a_dead_connection_is_free(world: World) -> None:
    url = world.settings.advertised_url
    async with await connect(world) as connection, await connect(world) as other:
        channel = await connection.channel()
        # Given queues of connections whose workers were killed, or have started again
        for number, worker in enumerate(("http://127.0.0.1:9", url)):
            name = f"q{number}"
            session = quote(f"amqp-gone@{worker}", safe="")
            await http(world, "PUT", f"/v1/queues/{name}/options", {})
            await http(world, "PUT", f"/v1/queues/{name}/sessions/{session}", {})
            await http(world, "POST", f"/v1/queues/{name}/messages", {"body": "old"})
            # Then a client that declares one anew has it, empty
            queue = await channel.declare_queue(name, exclusive=True)
            assert queue.declaration_result.message_count == 0
            # And no other has, as long as its connection lives
            with pytest.raises(ChannelLockedResource):
                await (await other.channel()).declare_queue(name, exclusive=True)
        # And what is no connection's name is nobody's to judge
        await http(world, "PUT", "/v1/queues/q9/sessions/amqp-any", {})
        with pytest.raises(ChannelLockedResource):
            await channel.declare_queue("q9", exclusive=True)


async def test_of_two_declarations_at_once_the_first_decides(world: World) -> None:
    connections = [await connect(world) for _ in range(2)]
    channels = [await one.channel() for one in connections]
    found = await asyncio.gather(
        *(
            channel.declare_queue("race", durable=True, arguments={"x-max-length": length})
            for length, channel in enumerate(channels, 1)
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(one, ChannelPreconditionFailed) for one in found) == 1
    for connection in connections:
        await connection.close()


async def test_consumers_are_cancelled_when_their_queue_is_deleted(world: World) -> None:
    connection = await aiormq.connect(f"amqp://u:p@127.0.0.1:{world.settings.amqp_port}/")
    channel: Any = await connection.channel()
    await channel.queue_declare("q")
    await channel.basic_consume("q", lambda _: asyncio.sleep(0), consumer_tag="c")

    await http(world, "DELETE", "/v1/queues/q")

    async def is_cancelled() -> bool:
        return "c" not in channel.consumers

    await until(is_cancelled)
    await connection.close()


async def test_exchanges_are_what_they_were_declared_as(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        fanout = await channel.declare_exchange("F", "fanout")
        await channel.declare_exchange("F", "fanout")
        queue = await channel.declare_queue("q")
        await queue.bind(fanout)
        shown = await http(world, "GET", "/v1/exchanges")
        assert [(one["name"], one["type"]) for one in shown["exchanges"]] == [("F", "fanout")]
        with pytest.raises(ChannelPreconditionFailed, match="current is 'fanout'"):
            await channel.declare_exchange("F", "direct")
        channel = await connection.channel()
        await channel.exchange_delete("F")
        with pytest.raises(ChannelNotFoundEntity):
            await channel.declare_exchange("F", passive=True)
        channel = await connection.channel(on_return_raises=True)
        again = await channel.declare_exchange("F", "fanout")
        with pytest.raises(DeliveryError):  # the binding has ended with the exchange
            await again.publish(aio_pika.Message(b"x"), "", mandatory=True)
        with pytest.raises(ChannelAccessRefused):
            await channel.declare_exchange("amq.mine", "fanout")


async def test_what_there_is_not_is_refused(world: World) -> None:
    connection = await connect(world)
    channel = await connection.channel()
    with pytest.raises((ConnectionNotImplemented, AMQPError)) as refused:
        await channel.declare_exchange("T", "headers")
    assert "headers" in str(refused.value)
    await connection.close()


async def test_a_queue_that_is_not_there_closes_the_channel_only(world: World) -> None:
    async with await connect(world) as connection:
        channel = await connection.channel()
        with pytest.raises(ChannelNotFoundEntity, match="no queue 'none'"):
            await (await channel.get_queue("none", ensure=False)).consume(Sink())
        channel = await connection.channel()
        await channel.declare_queue("q")


async def test_leases_are_extended_while_the_connection_lives(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.gateway.amqp.connection.EXTEND_SECONDS", 0.02)
    async with await connect(world) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("q")
        await channel.default_exchange.publish(aio_pika.Message(b"1"), "q")
        sink = Sink()
        await queue.consume(sink)
        message = await sink.next()
        shown = await http(world, "GET", "/v1/queues/q/messages")
        before = shown["messages"][0]["until"]

        async def is_extended() -> bool:
            shown = await http(world, "GET", "/v1/queues/q/messages")
            return bool(shown["messages"][0]["until"] > before)

        await until(is_extended)
        await message.ack()


async def raw(world: World) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", world.settings.amqp_port)


async def test_another_protocol_is_told_which_one_this_is(world: World) -> None:
    for greeting in (b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00", b"GET / HT"):
        reader, writer = await raw(world)
        writer.write(greeting)
        async with asyncio.timeout(SECONDS):
            assert await reader.read() == b"AMQP\x00\x00\x09\x01"
        writer.close()


@pytest.mark.parametrize("seed", range(20))
async def test_no_bytes_end_the_worker(world: World, seed: int) -> None:
    rng = random.Random(seed)
    reader, writer = await raw(world)
    writer.write(b"AMQP\x00\x00\x09\x01")
    login = b"\x00\x0a\x00\x0b" + bytes(4) + b"\x05PLAIN" + b"\0\0\0\x04\0u\0p" + b"\x05en_US"
    tune = b"\x00\x0a\x00\x1f" + bytes(8)
    opened = b"\x00\x0a\x00\x28" + b"\x01/\x00\x00"
    methods = (login, tune, opened, b"\x00\x14\x00\x0a\x00", b"\x00\x3c\x00\x28\0\0\0\x01q\0")
    data = bytearray()
    for number, payload in enumerate(methods):
        channel = 0 if number < 3 else 1
        data += b"\x01" + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big")
        data += payload + b"\xce"
    data += b"\x02\0\x01\0\0\0\x0e" + b"\x00\x3c\0\0" + (3).to_bytes(8, "big") + b"\0\0\xce"
    data += b"\x03\0\x01\0\0\0\x03abc\xce"
    if seed:
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    writer.write(bytes(data))
    writer.write_eof()
    async with asyncio.timeout(SECONDS):
        await reader.read()
    writer.close()

    async with await connect(world) as connection:
        await (await connection.channel()).declare_queue("alive")
    if not seed:
        assert (await http(world, "GET", "/v1/queues/q"))["depth"] == 1


async def test_the_port_has_the_tls_of_http(tmp_path: Path) -> None:
    authority, folder = trustme.CA(), tmp_path
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    own = authority.issue_cert("127.0.0.1")
    own.private_key_and_cert_chain_pem.write_to_path(str(folder / "worker.pem"))
    world = await start(
        STREAMS_HTTP_TLS_CERTFILE=str(folder / "worker.pem"),
        STREAMS_HTTP_TLS_KEYFILE=str(folder / "worker.pem"),
        STREAMS_HTTP_TLS_CAFILE=str(folder / "authority.pem"),
    )
    try:
        trusting = ssl.create_default_context(cafile=str(folder / "authority.pem"))
        port = world.settings.amqp_port
        assert port is not None
        async with await aio_pika.connect(
            host="127.0.0.1", port=port, ssl=True, ssl_context=trusting
        ) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("q")
            await channel.default_exchange.publish(aio_pika.Message(b"secret"), "q")
            assert (await queue.get(no_ack=True)).body == b"secret"
        with pytest.raises((AMQPError, ConnectionError)):  # a stranger's certificate
            await aio_pika.connect(
                host="127.0.0.1", port=port, ssl=True, ssl_context=ssl.create_default_context()
            )
        with pytest.raises((AMQPError, ConnectionError, asyncio.IncompleteReadError)):
            await aio_pika.connect(host="127.0.0.1", port=port, timeout=SECONDS)
    finally:
        await stop(world)


async def test_tokens_are_passwords_and_grant_what_they_say(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "keys.pem").write_bytes(public)

    def token(**streams: Any) -> str:
        claims = {"aud": "streams", "sub": "me", "exp": time.time() + 3600, "streams": streams}
        return jwt.encode(claims, key, "EdDSA")

    world = await start(STREAMS_AUTH_KEYS=str(tmp_path / "keys.pem"))
    try:
        with pytest.raises((AuthenticationError, ConnectionError, AMQPError)):
            await connect(world, "wrong")
        mine = token(read=["@mine"], publish=["@mine"], bind=["room"])
        async with await connect(world, mine) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("mine")
            await queue.bind("amq.direct", "room")
            await channel.default_exchange.publish(aio_pika.Message(b"x"), "mine")
            assert (await queue.get(timeout=SECONDS)) is not None
            with pytest.raises(ChannelAccessRefused, match="does not grant read"):
                await channel.declare_queue("other")
            channel = await connection.channel()
            with pytest.raises(ChannelAccessRefused, match="does not grant bind"):
                await channel.declare_exchange("E", "direct")
            channel = await connection.channel()
            with pytest.raises(ChannelAccessRefused, match="does not grant bind"):
                await (await channel.get_queue("mine")).bind("amq.topic", "#")
            await connection.update_secret(token(read=["@mine", "@other"]))
            channel = await connection.channel()
            await channel.declare_queue("other")
    finally:
        await stop(world)
