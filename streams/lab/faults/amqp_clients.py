"""AMQP clients as producers and consumers, while workers are killed and the broker restarts.

The clients are aio-pika's.  They keep their own accounts, since a delivery over AMQP has no seq:
what was confirmed must reach a consumer, and what was acknowledged must not come again.  A client
gets no answer to an ack; it knows that Kafka has it when a later passive declaration is answered.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from streams.lab.faults.catalogue import fault
from streams.lab.faults.harness import FaultHarness
from streams.operate.http_session import open_session

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

PREFIX: Final = "amqp-"
"""Start of the names of queues and exchanges that these clients use."""
EXCHANGE: Final = f"{PREFIX}work"
QUEUES: Final = 6
PRODUCERS: Final = 4
CONSUMERS: Final = 12
"""Two for each queue."""
PREFETCH: Final = 20
PAUSE_SECONDS: Final = 0.02
AGAIN_SECONDS: Final = 0.3
ANSWER_SECONDS: Final = 20.0
DRAIN_SECONDS: Final = 120.0
LOAD_SECONDS: Final = 3.0


@dataclass(slots=True)
class Accounts:
    """What clients know of the messages of all queues, by their bodies."""

    sent: set[bytes] = field(default_factory=set)
    """Those that may be in a queue."""
    confirmed: set[bytes] = field(default_factory=set)
    seen: set[bytes] = field(default_factory=set)
    """Those that a consumer got."""
    acked: set[bytes] = field(default_factory=set)
    """Those whose ack Kafka has for certain."""
    again: list[bytes] = field(default_factory=list)
    """Deliveries of messages whose ack Kafka had."""
    redelivered: int = 0

    def delivered(self, body: bytes, redelivered: bool) -> None:
        """Note a delivery."""
        if body in self.acked:
            self.again.append(body)
        self.seen.add(body)
        self.redelivered += redelivered

    def problems(self) -> list[str]:
        """Return what must not be, once the queues are empty."""
        found = [
            ("confirmed over AMQP, and never delivered", self.confirmed - self.seen),
            ("acknowledged over AMQP, and delivered again", self.again),
            ("delivered over AMQP, and never sent", self.seen - self.sent),
        ]
        return [f"{len(some)} {text}: {sorted(some)[:5]}" for text, some in found if some]


class AMQPClients:
    """Producers and consumers on all workers of a system."""

    def __init__(self, harness: FaultHarness) -> None:
        self.accounts = Accounts()
        self._harness = harness
        self._rng = random.Random(f"amqp {harness.load.plan.seed}")
        self._numbers = 0
        self._sending = True
        self._producers: list[asyncio.Task[None]] = []
        self._consumers: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Declare all queues, and start the clients."""
        for name in ("aiormq", "aio_pika"):  # connections break all the time
            logging.getLogger(name).setLevel(logging.CRITICAL)
        await self._until_done(self._declare)
        self._producers = [
            asyncio.create_task(self._for_ever(self._produce)) for _ in range(PRODUCERS)
        ]
        self._consumers = [
            asyncio.create_task(self._for_ever(self._consumer_of(number % QUEUES)))
            for number in range(CONSUMERS)
        ]

    async def stop_sending(self) -> None:
        """Let the producers end."""
        self._sending = False
        await asyncio.gather(*self._producers)

    @property
    def all_seen(self) -> bool:
        """Whether every message that was confirmed has reached a consumer."""
        for task in (*self._producers, *self._consumers):
            if task.done() and not task.cancelled():
                task.result()  # raises what ended it: a defect of this module
        return self.accounts.confirmed <= self.accounts.seen

    async def drain(self) -> int:
        """Wait until the queues are empty; return how many messages stay there all the same.

        An ack whose connection broke may be in Kafka or not, so some come again until then.
        """
        deadline = time.monotonic() + DRAIN_SECONDS
        while left := await self._left():
            if time.monotonic() > deadline:
                return left
            await asyncio.sleep(AGAIN_SECONDS)
        return 0

    async def end(self) -> None:
        """Stop all clients."""
        for task in (*self._producers, *self._consumers):
            task.cancel()
        await asyncio.gather(*self._producers, *self._consumers, return_exceptions=True)

    async def _left(self) -> int:
        """Return how many messages queues hold, leased or not."""
        async with open_session(self._harness.settings) as session:
            depths = 0
            for number in range(QUEUES):
                url = self._rng.choice(self._harness.urls)
                target = f"{url}/v1/queues/{PREFIX}{number}"
                async with session.get(target) as response:
                    if response.status != 200:
                        return 1  # a partition moves: look again
                    depths += (await response.json())["depth"]
            return depths

    # What clients do ------------------------------------------------------------------------

    async def _connect(self) -> AbstractConnection:
        import aio_pika

        harness = self._harness
        worker = self._rng.choice(harness.running)
        settings = harness.settings
        secure = settings.http_tls_certfile is not None
        return await aio_pika.connect(
            host="127.0.0.1",
            port=worker.amqp_port,
            password=settings.token or "none",
            ssl=secure,
            ssl_context=settings.http_client_tls() if secure else None,
            timeout=ANSWER_SECONDS,
        )

    async def _once(self, act: Callable[[AbstractConnection], Awaitable[None]]) -> bool:
        """Do something on a connection of its own; tell whether it came to its end."""
        from aio_pika.exceptions import AMQPError

        try:
            connection = await self._connect()
        except (AMQPError, OSError, TimeoutError, RuntimeError):
            return False
        try:
            await act(connection)
            return True
        except (AMQPError, OSError, TimeoutError, RuntimeError, asyncio.InvalidStateError):
            return False  # the connection or the channel was closed, or nothing is answered
        finally:
            asyncio.get_running_loop().create_task(_closed(connection))

    async def _until_done(self, act: Callable[[AbstractConnection], Awaitable[None]]) -> None:
        async with asyncio.timeout(DRAIN_SECONDS):
            while True:
                if await self._once(act):
                    return
                await asyncio.sleep(AGAIN_SECONDS)

    async def _for_ever(self, act: Callable[[AbstractConnection], Awaitable[None]]) -> None:
        while True:
            if await self._once(act) and not self._sending and act == self._produce:
                return
            await asyncio.sleep(AGAIN_SECONDS)

    async def _declare(self, connection: AbstractConnection) -> None:
        channel = await connection.channel()
        await channel.declare_exchange(EXCHANGE, "direct", durable=True)
        for number in range(QUEUES):
            queue = await channel.declare_queue(f"{PREFIX}{number}", durable=True)
            await queue.bind(EXCHANGE, str(number))

    async def _produce(self, connection: AbstractConnection) -> None:
        import aio_pika

        channel = await connection.channel()
        exchange = await channel.get_exchange(EXCHANGE, ensure=False)
        while self._sending:
            self._numbers += 1
            body = b"%d" % self._numbers
            self.accounts.sent.add(body)
            key = str(self._numbers % QUEUES)
            async with asyncio.timeout(ANSWER_SECONDS):
                await exchange.publish(aio_pika.Message(body), key, mandatory=False)
            self.accounts.confirmed.add(body)
            await asyncio.sleep(PAUSE_SECONDS)

    def _consumer_of(self, number: int) -> Callable[[AbstractConnection], Awaitable[None]]:
        async def consume(connection: AbstractConnection) -> None:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            queue = await channel.get_queue(f"{PREFIX}{number}", ensure=False)
            got: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
            await queue.consume(got.put)
            while not connection.is_closed and not channel.is_closed:
                try:
                    async with asyncio.timeout(AGAIN_SECONDS):
                        first = await got.get()
                except TimeoutError:
                    continue  # nothing came: look whether the connection is still there
                await self._take([first, *(got.get_nowait() for _ in range(got.qsize()))], channel)

        return consume

    async def _take(
        self, messages: list[AbstractIncomingMessage], channel: AbstractChannel
    ) -> None:
        """Acknowledge messages, and note so once Kafka has the acks."""
        for message in messages:
            self.accounts.delivered(message.body, bool(message.redelivered))
            await message.ack()
        async with asyncio.timeout(ANSWER_SECONDS):
            await channel.declare_queue(f"{PREFIX}0", passive=True)
        self.accounts.acked.update(message.body for message in messages)


async def _closed(connection: AbstractConnection) -> None:
    """Close a connection, if it can be closed within a while."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.close()
    except Exception:
        return  # it was broken: that is what this is about


def _missing() -> str | None:
    return None if importlib.util.find_spec("aio_pika") else "aio-pika is not installed"


@fault(
    "amqp",
    "AMQP clients send and consume while workers are killed and the broker restarts",
    settings={"STREAMS_AMQP_PORT": "0"},
    needs=_missing,
    mix=False,
)
async def amqp(harness: FaultHarness) -> None:
    """A kill of each worker, a stop, and a broker that is away, under load."""
    harness.apart = PREFIX
    clients = AMQPClients(harness)
    await clients.begin()
    try:
        for worker in harness.workers:
            await asyncio.sleep(LOAD_SECONDS)
            worker.signal(signal.SIGKILL)
            await harness.until_ready(1.0)
        await asyncio.sleep(LOAD_SECONDS)
        await harness.end(harness.workers[0], signal.SIGTERM)
        harness.begin(harness.workers[0])
        await harness.until_ready(1.0)
        await asyncio.sleep(LOAD_SECONDS)
        await harness.brokers.call(harness.brokers.kafka.nodes[0].kill)
        await asyncio.sleep(LOAD_SECONDS)
        await harness.brokers.start()
        await harness.until_ready(1.0)
        await asyncio.sleep(LOAD_SECONDS)
        await clients.stop_sending()
        await harness.until(
            lambda: clients.all_seen, DRAIN_SECONDS, "not all that was confirmed is delivered"
        )
        left = await clients.drain()
    finally:
        await clients.end()
    accounts = clients.accounts
    harness.notes.append(
        f"AMQP: {len(accounts.confirmed)} of {len(accounts.sent)} messages confirmed, "
        f"{len(accounts.acked)} acknowledged, {accounts.redelivered} redelivered, {left} left"
    )
    for problem in accounts.problems():
        harness.expect(False, problem)
    harness.expect(not left, f"{left} messages are still in the queues of the AMQP clients")
    harness.expect(len(accounts.confirmed) > 100, "the AMQP clients had hardly any messages")
