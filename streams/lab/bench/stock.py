"""The baseline: the two agents of this system, written as in Faust's user guide.

Stock Faust with its own transport, RocksDB store and producer, at their defaults; the same
topics, records and codec, one row per (group, queue), one record per binding or delivery.  It
does less than the measured system: no deduplication, no sessions, no packing, no exact
recovery.

``faust -A streams.lab.bench.stock worker``, with the settings of any worker.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from struct import Struct
from typing import Any

import faust
from faust.web import Request, Response, View
from rocksdict import ReadOptions

from streams.events.codec import read
from streams.folds.tables import MEMBERS, QUEUES
from streams.kafka.topics import ensure_topics
from streams.settings import Settings
from streams.topics import product_topics

settings = Settings.from_env()
ensure_topics(settings.librdkafka(), product_topics(settings))
app = faust.App(
    settings.app_id,
    broker=[f"kafka://{broker}" for broker in settings.brokers.split(",")],
    store="rocksdb://",
    datadir=str(settings.data),
    web_host=settings.http_host,
    web_port=settings.http_port,
    topic_partitions=settings.partitions,
    topic_replication_factor=settings.replication,
    # Faust rejects a request timeout that is shorter than the session timeout
    broker_session_timeout=settings.session_timeout_seconds,
    broker_request_timeout=max(90.0, settings.session_timeout_seconds),
)
raw: dict[str, Any] = dict.fromkeys(("key_serializer", "value_serializer"), "raw")
group_events = app.topic(settings.group_events, key_type=bytes, value_type=bytes, **raw)
queue_events = app.topic(settings.queue_events, key_type=bytes, value_type=bytes, **raw)
members = app.Table(MEMBERS, key_type=bytes, value_type=bytes)
queues = app.Table(QUEUES, key_type=bytes, value_type=bytes)

seen: Counter[str] = Counter()
"""How many records each agent has processed."""
arrived: defaultdict[bytes, asyncio.Event] = defaultdict(asyncio.Event)
_seq = Struct(">Q")


@app.agent(group_events)
async def route(events: Any) -> None:
    """Store the members of groups; send bindings and messages to queues."""
    async for group, value in events.items():
        kind, event = read(value)
        if kind == "Message":
            for queue, _ in rows(members, group, current().partition):
                await queue_events.send(key=queue, value=value)
        else:
            queue = event["queue"].encode()
            if kind == "Bind":
                members[group + b"\0" + queue] = b"bound"
            else:
                members.pop(group + b"\0" + queue, None)
            await queue_events.send(key=queue, value=value)
        seen["route"] += 1


@app.agent(queue_events)
async def deliver(events: Any) -> None:
    """Store inboxes and bindings of queues."""
    async for queue, value in events.items():
        kind, event = read(value)
        if kind == "Message":
            queues[b"i" + queue + b"\0" + _seq.pack(current().offset + 1)] = value
            if queue in arrived:
                arrived.pop(queue).set()
        elif kind == "Bind":
            queues[b"b" + queue + b"\0" + event["group"].encode()] = b"bound"
        else:
            queues.pop(b"b" + queue + b"\0" + event["group"].encode(), None)
        seen["deliver"] += 1


def current() -> Any:
    """Return the Kafka record that an agent is processing."""
    event = faust.current_event()
    assert event is not None
    return event.message


def rows(
    table: Any, bucket: bytes, partition: int, after: bytes = b""
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of a bucket, from the database below the table: it has no scan itself."""
    options = ReadOptions()
    options.set_iterate_upper_bound(bucket + b"\1")
    found = table.data._dbs[partition].items(
        from_key=bucket + b"\0" + after + b"\0", read_opt=options
    )
    for key, value in found:
        yield key[len(bucket) + 1 :], value


@app.page("/seen/")
async def counts(view: View, request: Request) -> Response:
    """Return how many records each agent has processed."""
    return view.json(dict(seen))


@app.page("/recovered/")
async def recovered(view: View, request: Request) -> Response:
    """Return whether all tables are recovered."""
    tables: Any = app.tables
    there = len(tables.recovery.active_tps) >= 2 * settings.partitions
    return view.json(there and tables.actives_ready and not app.rebalancing)


@app.page("/inbox/{queue}/{partition}/{after}/")
async def inbox(view: View, request: Request, queue: str, partition: str, after: str) -> Response:
    """Return seq and id of a queue's messages after a seq; wait for the first."""
    name = queue.encode()
    while True:
        found = [
            {"seq": _seq.unpack(seq)[0], "id": read(value)[1]["id"]}
            for seq, value in rows(queues, b"i" + name, int(partition), _seq.pack(int(after)))
        ]
        if found:
            return view.json({"messages": found})
        await arrived[name].wait()


@app.page("/publish/{group}/")
class Publish(View):
    """Appends a message; answers once Kafka has confirmed it."""

    async def post(self, request: Request, group: str) -> Response:
        """Send the body, which is an encoded Message."""
        sent = await group_events.send(key=group.encode(), value=await request.read())
        await sent
        return self.json({})
