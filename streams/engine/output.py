"""Producers of a worker: for outputs of folds, and for events that clients publish.

Both use confluent-kafka's idempotent producer.  Outputs wait for the broker without limit,
since a checkpoint cannot continue without them.  A published event has a deadline, since a
client waits for the answer.  Knows Kafka, not Faust.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from streams.errors import TooLarge, Unavailable
from streams.fold import Output
from streams.kafka.clients import open_producer
from streams.repeats import REPEATING

logger = logging.getLogger(__name__)

Headers = list[tuple[str, str | bytes | None]]

POLL_SECONDS: Final = 0.5
"""How long a thread waits for the first delivery report."""
REPORT_PAUSE_SECONDS: Final = 0.01
"""Pause of the thread of outputs after it has taken delivery reports.

Reports that arrive meanwhile are taken together.  With few events nearly each output has a report
of its own, and each would wake the thread, which then competes with the event loop for the
interpreter.  Only checkpoints wait for these reports.  In a pause, the producer's queue of 100,000
records fills only with outputs at 10,000,000 a second."""

_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}


class _PolledProducer:
    """A producer, and the thread that calls its delivery callbacks.

    With `pause`, the thread takes reports at most every so many seconds.
    """

    def __init__(
        self, client: Mapping[str, Any], config: Mapping[str, Any], name: str, pause: float = 0.0
    ) -> None:
        self._pause = pause
        self.producer = open_producer(client, config, self._on_error)
        self.fatal: KafkaError | None = None
        self._running = True
        self._thread = threading.Thread(target=self._poll, name=name, daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        poll = self.producer.poll
        while self._running:
            try:
                poll(POLL_SECONDS)
            except KafkaException as exc:  # a fatal error; delivery reports still follow
                self._on_error(exc.args[0])
            if self._pause:
                time.sleep(self._pause)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.fatal = error
            logger.critical("producer failed for good; the worker will exit: %s", error.str())
        else:
            logger.info("producer: %s", error.str(), extra=REPEATING)

    def close(self, timeout: float) -> int:
        """Wait up to `timeout` seconds for queued records; return how many are left."""
        left = self.producer.flush(timeout)
        self._running = False
        self._thread.join(timeout=2.0)
        return int(left)


class DeliveryTracker:
    """Counts the outputs of one partition between two checkpoints until Kafka has all of them.

    Of outputs sent together, only the last one to each partition asks for a delivery report.
    The producer keeps order and leaves no gap (or fails for good), so all before it are
    confirmed, too.  A report for each would interrupt the event loop each time.
    Only the producer's thread writes `_confirmed`, and only the event loop the other counts;
    `settled` joins them.
    """

    __slots__ = ("_confirmed", "_loop", "_waiter", "dropped", "failed", "held", "reports", "sent")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sent = 0
        """Outputs handed to the producer."""
        self.held = 0
        """Outputs that wait in `streams.engine.pacing`."""
        self.reports = 0
        """Delivery reports asked for."""
        self.dropped = False
        """Whether the partition was closed, so that unsent outputs must not be sent."""
        self.failed: KafkaError | None = None
        self._confirmed = 0
        self._loop = loop
        self._waiter: asyncio.Event | None = None

    def delivered(self, error: KafkaError | None, _message: Any) -> None:
        """Count one delivery report; called by the producer's thread."""
        if error is not None:
            self.failed = error
        self._confirmed += 1
        if self._waiter is not None:
            self._loop.call_soon_threadsafe(self._waiter.set)

    def refused(self, error: KafkaError) -> None:
        """Record that an output cannot be sent; called in the event loop."""
        self.failed = error
        if self._waiter is not None:
            self._waiter.set()

    async def settled(self) -> None:
        """Wait until Kafka has every output counted here; none may be added after this call.

        Raises:
            Unavailable: Kafka refused an output for good.
        """
        if self._waiter is None:  # others may be waiting for the same outputs
            self._waiter = asyncio.Event()
        while not self._is_settled():
            self._waiter.clear()
            if not self._is_settled():
                await self._waiter.wait()
        if self.failed is not None:
            raise Unavailable(f"Kafka refused an output: {self.failed.str()}")

    @property
    def unsettled(self) -> int:
        """Outputs and delivery reports that are still waited for."""
        return self.held + max(0, self.reports - self._confirmed)

    def _is_settled(self) -> bool:
        if self.failed is not None:
            return True
        return not self.held and self._confirmed >= self.reports


class OutputProducer:
    """Appends the outputs of all folds of this worker, in order and without gaps."""

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._polled = _PolledProducer(
            client,
            {
                "enable.idempotence": True,
                # Never give up a record. A gap could not be filled later: folds drop records
                # that are not above the highest origin they have seen.
                "message.timeout.ms": 0,
                "enable.gapless.guarantee": True,
                # Outputs queued during a request are batched anyway.
                "linger.ms": 0,
                "batch.size": 524_288,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 100_000,
                "queue.buffering.max.kbytes": 65_536,
            },
            "outputs",
            REPORT_PAUSE_SECONDS,
        )
        self._produce = self._polled.producer.produce
        self._headers: dict[str, Headers] = {}

    @property
    def fatal(self) -> KafkaError | None:
        """The error after which this producer cannot go on; the worker must end."""
        return self._polled.fatal

    async def send(self, outputs: Sequence[Output], tracker: DeliveryTracker) -> None:
        """Queue outputs in order; wait only while the queue is full.

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
            raise Unavailable(f"Kafka refused an output: {tracker.failed.str()}")

    def send_now(self, output: Output, tracker: DeliveryTracker, report: bool) -> bool:
        """Queue one output; return False if the queue is full.

        With `report`, the tracker waits for the delivery report of this output.
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
        """Queue one record with the given headers.

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

    def mark(
        self, topic: str, partition: int, key: bytes, value: bytes, type: str
    ) -> asyncio.Future[int]:
        """Append a record after all outputs that were queued for its partition before.

        Returns:
            The record's offset, once Kafka has it: the outputs before it have lower ones.  The
            producer never gives a record up, so the caller limits how long it waits.

        Raises:
            Unavailable: the queue is full, or the producer has failed; nothing was sent.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()

        def resolve(error: KafkaError | None, offset: int) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(offset)
            else:
                future.set_exception(Unavailable(f"Kafka refused the record: {error.str()}"))

        def delivered(error: KafkaError | None, message: Any) -> None:
            loop.call_soon_threadsafe(resolve, error, message.offset())

        try:
            self._produce(
                topic,
                value,
                key,
                partition,
                on_delivery=delivered,
                headers=[("type", type.encode())],
            )
        except BufferError as exc:
            raise Unavailable("too many outputs are waiting for Kafka", retry_after=1.0) from exc
        except KafkaException as exc:
            raise Unavailable(f"Kafka refused the record: {exc.args[0].str()}") from exc
        return future

    def queued(self) -> int:
        """Return how many records are not confirmed."""
        return len(self._polled.producer)

    def close(self, timeout: float) -> int:
        """Wait for queued records; return how many are left. Blocks."""
        return self._polled.close(timeout)


class Publisher:
    """Appends events for clients, and confirms each when Kafka has it."""

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
        """The error after which this producer cannot go on; the worker must end."""
        return self._polled.fatal

    def publish(
        self, topic: str, key: bytes, value: bytes, type: str
    ) -> Awaitable[tuple[int, int]]:
        """Append one event; the awaitable returns its (partition, offset) when Kafka has it.

        The awaitable raises `Unavailable` if Kafka does not confirm in time; the event may
        still be appended.

        Raises:
            Unavailable: the queue is full; nothing was sent.
            TooLarge: the record exceeds the producer's limit; nothing was sent.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[int, int]] = loop.create_future()
        headers = self._headers.get(type)
        if headers is None:
            headers = self._headers[type] = [("type", type.encode())]

        def delivered(error: KafkaError | None, message: Any) -> None:
            self._done.append((future, error, message))
            if not self._woken:
                self._woken = True
                loop.call_soon_threadsafe(self._resolve)

        try:
            self._polled.producer.produce(topic, value, key, on_delivery=delivered, headers=headers)
        except BufferError as exc:
            raise Unavailable("too many events are waiting for Kafka", retry_after=1.0) from exc
        except KafkaException as exc:
            error: KafkaError = exc.args[0]
            if error.code() in _TOO_LARGE:
                raise TooLarge(f"the record of {len(value)} bytes exceeds the limit") from exc
            raise Unavailable(f"Kafka refused the record: {error.str()}") from exc
        return future

    async def publish_many(
        self, events: Sequence[tuple[str, bytes, bytes, str]]
    ) -> list[tuple[int, int]]:
        """Append (topic, key, value, type) events in order; wait until Kafka has all of them.

        Raises:
            Unavailable: at least one was not confirmed; others may have been appended.
            TooLarge: at least one exceeds the limit; others may have been appended.
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
        """Return how many events are not confirmed."""
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
        """Wait for queued records; return how many are left. Blocks."""
        return self._polled.close(timeout)
