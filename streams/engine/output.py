"""What leaves a worker: outputs of folds, and events that clients publish.

Both go through confluent-kafka's idempotent producer.  Outputs wait for the broker for
ever, since a checkpoint cannot go on without them; a published event has a deadline,
since somebody waits for the answer.  Knows Kafka, not Faust.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from streams.errors import TooLarge, Unavailable
from streams.fold import Output
from streams.kafka.clients import open_producer

logger = logging.getLogger(__name__)

Headers = list[tuple[str, str | bytes | None]]
Delivered = Callable[[KafkaError | None, Any], None]

_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}


class _PolledProducer:
    """A producer and the thread that serves its delivery reports."""

    def __init__(self, client: Mapping[str, Any], config: Mapping[str, Any], name: str) -> None:
        self.producer = open_producer(client, config, self._on_error)
        self.fatal: KafkaError | None = None
        self._running = True
        self._thread = threading.Thread(target=self._poll, name=name, daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        poll = self.producer.poll
        while self._running:
            try:
                poll(0.2)
            except KafkaException as exc:  # a fatal error; reports are still to come
                self._on_error(exc.args[0])

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.fatal = error
            logger.critical("producer: %s", error.str())
        else:
            logger.info("producer: %s", error.str())

    def close(self, timeout: float) -> int:
        """Wait up to `timeout` seconds for what is queued; return how many records were left."""
        left = self.producer.flush(timeout)
        self._running = False
        self._thread.join(timeout=2.0)
        return int(left)


class DeliveryTracker:
    """Counts the outputs of one partition between two checkpoints until all are confirmed.

    Reports are asked for the last output to each partition of what is sent together: those
    before it are confirmed by then, since the producer keeps their order and leaves no gap,
    or ends.  A report for each would take the interpreter from the event loop each time.
    `_confirmed` is written by the producer's thread alone and the other counts by the event
    loop alone; `settled` is what joins them.
    """

    __slots__ = ("_confirmed", "_loop", "_waiter", "dropped", "failed", "held", "reports", "sent")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sent = 0
        """Outputs given to the producer."""
        self.held = 0
        """Outputs that wait to be given to it (`streams.engine.pacing`)."""
        self.reports = 0
        """Reports asked for."""
        self.dropped = False
        """Whether nobody waits for these outputs any more: their partition has been closed."""
        self.failed: KafkaError | None = None
        self._confirmed = 0
        self._loop = loop
        self._waiter: asyncio.Event | None = None

    def delivered(self, error: KafkaError | None, _message: Any) -> None:
        """Take one delivery report; called by the producer's thread."""
        if error is not None:
            self.failed = error
        self._confirmed += 1
        if self._waiter is not None:
            self._loop.call_soon_threadsafe(self._waiter.set)

    def refused(self, error: KafkaError) -> None:
        """Take note that an output cannot be sent; called in the event loop."""
        self.failed = error
        if self._waiter is not None:
            self._waiter.set()

    async def settled(self) -> None:
        """Wait until every output counted here is in Kafka; nothing may be sent after this.

        Raises:
            Unavailable: an output was refused for good.
        """
        self._waiter = asyncio.Event()
        while not self._is_settled():
            self._waiter.clear()
            if not self._is_settled():
                await self._waiter.wait()
        if self.failed is not None:
            raise Unavailable(f"an output was refused: {self.failed.str()}")

    def _is_settled(self) -> bool:
        if self.failed is not None:
            return True
        return not self.held and self._confirmed >= self.reports


class OutputProducer:
    """Appends the outputs of all folds of this worker, in order, none missing."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._polled = _PolledProducer(
            client,
            {
                "enable.idempotence": True,
                # A gap would be lost for good, since a reader drops what is not above the
                # highest origin it has seen: so never give a record up.
                "message.timeout.ms": 0,
                "enable.gapless.guarantee": True,
                # What is sent while a request is under way goes together anyway.
                "linger.ms": 0,
                "batch.size": 524_288,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 65_536,
            },
            "outputs",
        )
        self._produce = self._polled.producer.produce
        self._headers: dict[str, Headers] = {}

    @property
    def fatal(self) -> KafkaError | None:
        """The error that ended this producer, if one did: the worker must end too."""
        return self._polled.fatal

    async def send(self, outputs: Sequence[Output], tracker: DeliveryTracker) -> None:
        """Queue outputs in order; waits only while the queue is full.

        Raises:
            Unavailable: the producer has failed for good.
        """
        last = {(output.topic, output.partition): output for output in outputs}
        for output in outputs:
            report = last[output.topic, output.partition] is output
            while True:
                if self.send_now(output, tracker, report):
                    break
                await asyncio.sleep(0.01)
        if tracker.failed is not None:
            raise Unavailable(f"an output was refused: {tracker.failed.str()}")

    def send_now(self, output: Output, tracker: DeliveryTracker, report: bool) -> bool:
        """Queue one output; False when the queue is full.

        With `report` the tracker is settled only when Kafka has this one.
        """
        topic, partition, key, value, type_ = output
        headers = self._headers.get(type_)
        if headers is None:
            headers = self._headers[type_] = [("type", type_.encode())]
        try:
            if report:
                self._produce(
                    topic, value, key, partition, on_delivery=tracker.delivered, headers=headers
                )
                tracker.reports += 1
            else:
                self._produce(topic, value, key, partition, headers=headers)
        except BufferError:
            return False
        except KafkaException as exc:
            tracker.refused(exc.args[0])
        tracker.sent += 1
        return True

    async def send_with(
        self,
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        tracker: DeliveryTracker,
    ) -> None:
        """Queue one record with headers of its own.

        Raises:
            Unavailable: the producer has failed for good.
        """
        while True:
            try:
                self._produce(
                    topic,
                    value,
                    key,
                    partition,
                    on_delivery=tracker.delivered,
                    headers=headers,
                )
            except BufferError:
                await asyncio.sleep(0.01)
            except KafkaException as exc:
                raise Unavailable(f"cannot produce to {topic}: {exc.args[0].str()}") from exc
            else:
                tracker.sent += 1
                tracker.reports += 1
                return

    def queued(self) -> int:
        """Records that wait to be sent or confirmed."""
        return len(self._polled.producer)

    def close(self, timeout: float) -> int:
        """Wait for what is queued; return how many records were left. Blocks."""
        return self._polled.close(timeout)


class Publisher:
    """Appends events for clients and confirms each one only when Kafka has it."""

    def __init__(self, client: Mapping[str, Any], timeout: float = 15.0) -> None:
        self._polled = _PolledProducer(
            client,
            {
                "enable.idempotence": True,
                "message.timeout.ms": int(timeout * 1000),
                "linger.ms": 0.5,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 65_536,
            },
            "publisher",
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._done: deque[tuple[asyncio.Future[tuple[int, int]], KafkaError | None, Any]] = deque()
        self._woken = False
        self._headers: dict[str, Headers] = {}

    @property
    def fatal(self) -> KafkaError | None:
        """The error that ended this producer, if one did: the worker must end too."""
        return self._polled.fatal

    def publish(
        self, topic: str, key: bytes, value: bytes, type: str
    ) -> Awaitable[tuple[int, int]]:
        """Append one event; the result is its (partition, offset), once Kafka has it.

        The awaitable raises `Unavailable` when Kafka did not confirm in time, in which
        case the event may still land.

        Raises:
            Unavailable: too much is queued already; nothing was sent.
            TooLarge: the record is over the producer's limit; nothing was sent.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[int, int]] = self._loop.create_future()
        headers = self._headers.get(type)
        if headers is None:
            headers = self._headers[type] = [("type", type.encode())]

        def delivered(error: KafkaError | None, message: Any) -> None:
            self._done.append((future, error, message))
            if not self._woken:
                self._woken = True
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._resolve)

        try:
            self._polled.producer.produce(topic, value, key, on_delivery=delivered, headers=headers)
        except BufferError as exc:
            raise Unavailable("too many events wait to be confirmed", retry_after=1.0) from exc
        except KafkaException as exc:
            error: KafkaError = exc.args[0]
            if error.code() in _TOO_LARGE:
                raise TooLarge(f"record of {len(value)} bytes is over the limit") from exc
            raise Unavailable(f"Kafka refused: {error.str()}") from exc
        return future

    async def publish_many(
        self, events: Sequence[tuple[str, bytes, bytes, str]]
    ) -> list[tuple[int, int]]:
        """Append (topic, key, value, type) events in order; wait until Kafka has them all.

        Raises:
            Unavailable: at least one was not confirmed; others may have been.
            TooLarge: at least one is over the limit; others may have been sent.
        """
        pending: list[Awaitable[tuple[int, int]]] = []
        failed: Exception | None = None
        for event in events:
            while True:
                try:
                    pending.append(self.publish(*event))
                except Unavailable as exc:
                    if isinstance(exc.__cause__, BufferError) and pending:
                        await asyncio.wait([asyncio.ensure_future(pending[-1])], timeout=5.0)
                        continue
                    failed = exc
                except TooLarge as exc:
                    failed = exc
                break
            if failed is not None:
                break
        results = await asyncio.gather(*pending, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        if failed is not None:
            raise failed
        return [result for result in results if not isinstance(result, BaseException)]

    def queued(self) -> int:
        """Events that wait to be sent or confirmed."""
        return len(self._polled.producer)

    def _resolve(self) -> None:
        self._woken = False
        while self._done:
            future, error, message = self._done.popleft()
            if future.done():
                continue
            if error is None:
                future.set_result((message.partition(), message.offset()))
            elif error.code() in _TOO_LARGE:
                future.set_exception(TooLarge(error.str()))
            else:
                future.set_exception(Unavailable(f"Kafka did not confirm: {error.str()}"))

    def close(self, timeout: float) -> int:
        """Wait for what is queued; return how many records were left. Blocks."""
        return self._polled.close(timeout)
