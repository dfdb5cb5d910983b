"""Direct publishing: Avro records written to Kafka without going through a worker.

For producers close to Kafka that publish a lot.  The records are identical to the gateway's;
reading still goes through the gateway.  Needs the extra `direct`: confluent-kafka and fastavro.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

try:
    from confluent_kafka import KafkaError, KafkaException, Producer
except ImportError as error:
    raise ImportError(
        "streams.client.direct needs confluent-kafka: pip install 'group-streams[direct]'"
    ) from error

from streams.client.draft import Draft
from streams.client.errors import ClientClosed, Unavailable
from streams.client.messages import Published
from streams.errors import TooLarge
from streams.events.checks import check_message
from streams.events.codec import MAX_RECORD, encode
from streams.events.limits import MAX_MESSAGE_BODY, MAX_MESSAGE_BYTES
from streams.events.records import Bind, Message, Unbind
from streams.fold import BadRecord
from streams.ids import check_group, check_id, direct_group

CONFIRM_SECONDS = 30.0
POLL_SECONDS = 0.05
_NOT_SENT = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE)


class DirectProducer:
    """Writes binds, unbinds and messages to the topic `group-events`; an async context manager.

    Nothing checks its permissions except Kafka's own access control.

    Args:
        brokers: bootstrap brokers, `host:port,...`.
        namespace: `STREAMS_NAMESPACE` of the workers.
        config: more librdkafka configuration, such as credentials.
    """

    def __init__(
        self, brokers: str, *, namespace: str = "", config: Mapping[str, Any] | None = None
    ) -> None:
        self.topic = f"{namespace}.group-events" if namespace else "group-events"
        self._config: dict[str, Any] = {
            "linger.ms": 1,
            "compression.type": "lz4",
            "message.max.bytes": MAX_RECORD,
            "message.timeout.ms": int(CONFIRM_SECONDS * 1000),
            **(config or {}),
            "bootstrap.servers": brokers,
            # Workers reject events that are not in the partition of their key.
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
        }
        self._producer: Producer | None = None
        self._polling: threading.Thread | None = None
        self._stop = threading.Event()

    async def __aenter__(self) -> DirectProducer:
        self._stop.clear()
        self._producer = Producer(self._config)
        self._polling = threading.Thread(
            target=self._poll, args=(self._producer,), name="direct-producer", daemon=True
        )
        self._polling.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait until every event is confirmed or has timed out, then close."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await asyncio.to_thread(producer.flush, CONFIRM_SECONDS)
            self._stop.set()
            if self._polling is not None:
                await asyncio.to_thread(self._polling.join)

    async def publish(self, draft: Draft) -> Published:
        """Publish a message; returns once Kafka has it.

        Raises:
            InvalidId: an id is invalid.
            TooLarge: the message exceeds the limit; nothing was sent.
            ValueError: the priority is out of range.
            Unavailable: not confirmed in time; publish the same draft again.
            ClientClosed: the producer is not open.
        """
        partition, offset = await self._message(draft)
        return Published(draft.id, partition, offset)

    async def publish_many(self, drafts: Iterable[Draft]) -> list[Published]:
        """Publish messages, in order within each group; raises what `publish` does."""
        named = [(draft.id, self._message(draft)) for draft in drafts]
        positions = await asyncio.gather(*(future for _, future in named))
        return [
            Published(name, *position) for (name, _), position in zip(named, positions, strict=True)
        ]

    async def bind(self, group: str, queue: str, *, session: str | None = None) -> None:
        """Bind a queue to a group; returns once Kafka has the event."""
        key = _change(group, queue, session)
        await self._send(key, encode(Bind(group, queue, session, at=_now())), "Bind")

    async def unbind(self, group: str, queue: str, *, session: str | None = None) -> None:
        """Remove a binding; returns once Kafka has the event."""
        key = _change(group, queue, session)
        await self._send(key, encode(Unbind(group, queue, session, at=_now())), "Unbind")

    def _message(self, draft: Draft) -> asyncio.Future[tuple[int, int]]:
        if draft.queue is not None:
            key = b"@" + check_id(draft.queue, "queue")
            group = direct_group(draft.queue)
        else:
            group = draft.group or ""
            key = check_group(group, "group")
        check_id(draft.id, "id")
        check_id(draft.kind, "kind")
        if draft.sender:
            check_id(draft.sender, "sender")
        body = draft.body.encode() if isinstance(draft.body, str) else draft.body
        if len(body) > MAX_MESSAGE_BODY:
            raise TooLarge(f"a body of {len(body)} bytes exceeds the limit of {MAX_MESSAGE_BODY}")
        values = {"sender": "", **draft.options()}
        message = Message(group=group, body=body, at=_now(), **values)
        try:
            check_message({name: getattr(message, name) for name in Message.__slots__})
        except BadRecord as error:
            raise ValueError(str(error)) from None
        value = encode(message)
        if len(value) > MAX_MESSAGE_BYTES:
            raise TooLarge(
                f"a message of {len(value)} bytes exceeds the limit of {MAX_MESSAGE_BYTES}"
            )
        return self._send(key, value, "Message")

    def _send(self, key: bytes, value: bytes, kind: str) -> asyncio.Future[tuple[int, int]]:
        if self._producer is None:
            raise ClientClosed("the producer is not open; use it in `async with`")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[int, int]] = loop.create_future()

        def resolve(error: KafkaError | None, position: tuple[int, int]) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(position)
            elif error.code() in _NOT_SENT:
                future.set_exception(
                    TooLarge(f"Kafka refused a record of {len(value)} bytes as too large")
                )
            else:
                future.set_exception(Unavailable(f"Kafka did not confirm: {error.str()}"))

        def delivered(error: KafkaError | None, message: Any) -> None:
            position = (-1, -1) if error is not None else (message.partition(), message.offset())
            loop.call_soon_threadsafe(resolve, error, position)

        try:
            self._producer.produce(
                self.topic, value, key, headers=[("type", kind.encode())], on_delivery=delivered
            )
        except BufferError:
            raise Unavailable("too many events are waiting for confirmation") from None
        except KafkaException as error:
            raise Unavailable(f"Kafka refused: {error.args[0].str()}") from error
        return future

    def _poll(self, producer: Producer) -> None:
        while not self._stop.is_set():
            producer.poll(POLL_SECONDS)


def _change(group: str, queue: str, session: str | None) -> bytes:
    check_id(queue, "queue")
    if session is not None:
        check_id(session, "session")
    return check_group(group, "group")


def _now() -> int:
    return time.time_ns() // 1_000_000
