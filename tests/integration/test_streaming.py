"""WebSocket streams of two real workers: each serves every queue, whichever owns it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from two_workers import Cluster, two_workers

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    data = tmp_path_factory.mktemp("streaming")
    with two_workers(kafka, data, "streaming", 17166) as started:
        yield started


class Stream:
    """A WebSocket used without the client library."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def hear(self, kind: str, timeout: float = 120) -> Any:
        """Return the next frame, which must be of this type."""
        frame = await self.next(timeout)
        assert frame["type"] == kind, frame
        return frame

    async def next(self, timeout: float = 120) -> Any:
        return json.loads(await self.socket.receive_str(timeout=timeout))

    async def silence(self, seconds: float = 0.4) -> None:
        with pytest.raises(TimeoutError):
            await self.next(seconds)

    async def messages(self, count: int) -> list[Any]:
        return [await self.hear("message") for _ in range(count)]


@pytest.fixture
async def streams(cluster: Cluster) -> AsyncIterator[list[Stream]]:
    """One stream to each worker."""
    sockets = [await cluster.session.ws_connect(f"{url}/v1/stream") for url in cluster.urls]
    yield [Stream(socket) for socket in sockets]
    for socket in sockets:
        await socket.close()


async def test_any_worker_streams_any_queue(cluster: Cluster, streams: list[Stream]) -> None:
    # Given a queue of each worker, with a message
    queues = [await cluster.queue_of(worker, "any") for worker in (0, 1)]
    for queue in queues:
        await cluster.post(f"/v1/queues/{queue}/messages", {"body": "1", "sender": "me"})
        await cluster.depth(queue, 1)

    # When a client of each worker subscribes to both
    for stream in streams:
        for queue in queues:
            await stream.say("subscribe", queue=queue, after=None, ref=queue)

    # Then it gets what the queue holds
    for stream in streams:
        frames = [await stream.next() for _ in range(4)]
        said = {f["queue"]: f for f in frames if f["type"] == "subscribed"}
        sent = {f["queue"]: f for f in frames if f["type"] == "message"}
        assert said.keys() == sent.keys() == set(queues)
        assert said[queues[0]]["ref"] == queues[0]
        for queue in queues:
            (there,) = (await cluster.get(f"/v1/queues/{queue}/messages"))["messages"]
            assert sent[queue] == {"type": "message", "queue": queue, **there}

    # and new messages as they arrive
    for queue in queues:
        await cluster.post(f"/v1/queues/{queue}/messages", {"body": "2"})
        for stream in streams:
            message = await stream.hear("message")
            assert (message["queue"], message["body"]) == (queue, "2")


async def test_acks_are_batched_and_final(cluster: Cluster, streams: list[Stream]) -> None:
    for worker in (0, 1):
        queue = await cluster.queue_of(worker, "acked")
        for number in range(20):
            await cluster.post(f"/v1/queues/{queue}/messages", {"body": str(number)})
        stream = streams[0]
        await stream.say("subscribe", queue=queue)
        await stream.hear("subscribed")
        messages = await stream.messages(20)
        assert [int(message["body"]) for message in messages] == list(range(20))
        seqs = [message["seq"] for message in messages]

        # When the client acks one by one
        for seq in seqs[:10]:
            await stream.say("ack", queue=queue, upto=seq)
        for seq in seqs[15:]:
            await stream.say("ack", queue=queue, seqs=[seq])

        # Then few frames confirm all of them
        upto, single, answers = 0, set[int](), 0
        while upto < seqs[9] or single != set(seqs[15:]):
            acked = await stream.hear("acked")
            assert acked["queue"] == queue
            upto = max(upto, acked.get("upto", 0))
            single.update(acked.get("seqs", ()))
            answers += 1
        assert answers <= 10

        # and another client gets only the rest, from either worker
        await cluster.depth(queue, 5)
        await stream.say("unsubscribe", queue=queue)
        await stream.hear("unsubscribed")
        for other in streams:
            await other.say("subscribe", queue=queue)
            await other.hear("subscribed")
            assert [message["seq"] for message in await other.messages(5)] == seqs[10:15]
            await other.silence(0.2)
            await other.say("unsubscribe", queue=queue)
            await other.hear("unsubscribed")


async def test_a_reader_resumes_after_a_seq_within_its_credit(
    cluster: Cluster, streams: list[Stream]
) -> None:
    for worker in (0, 1):
        queue = await cluster.queue_of(worker, "credit")
        for number in range(10):
            await cluster.post(f"/v1/queues/{queue}/messages", {"body": str(number)})
        await cluster.depth(queue, 10)
        stream = streams[0]
        first = (await cluster.get(f"/v1/queues/{queue}/messages"))["messages"][1]["seq"]
        await stream.say("subscribe", queue=queue, after=first, credit=3)
        assert (await stream.hear("subscribed"))["after"] == first
        assert [message["body"] for message in await stream.messages(3)] == ["2", "3", "4"]
        await stream.silence()
        await stream.say("credit", queue=queue, more=2)
        assert [message["body"] for message in await stream.messages(2)] == ["5", "6"]
        await stream.silence(0.2)
        await stream.say("credit", queue=queue, more=1000)
        assert [message["body"] for message in await stream.messages(3)] == ["7", "8", "9"]
        await stream.say("unsubscribe", queue=queue, ref="bye")
        assert (await stream.hear("unsubscribed"))["ref"] == "bye"
        await cluster.post(f"/v1/queues/{queue}/messages", {"body": "10"})
        await stream.silence(0.2)


async def test_publishing_and_binding_are_confirmed_by_ref(
    cluster: Cluster, streams: list[Stream]
) -> None:
    stream = streams[1]
    queue = await cluster.queue_of(0, "bound")
    await stream.say("subscribe", queue=queue)
    await stream.hear("subscribed")

    # When everything is sent without waiting for confirmations
    await stream.say("bind", group="streamed", queue=queue, ref=1)
    for number in range(50):
        await stream.say("publish", group="streamed", body=str(number), ref=f"m{number}")
    await stream.say("unbind", group="streamed", queue=queue, ref=2)
    await stream.say("publish", group="streamed", body="too late", ref="late")
    await stream.say("publish", queue=queue, id="direct", body_base64="AP8=", ref="direct")
    await stream.say("open", queue=queue, session="s", groups=["within"], ref=3)

    # Then everything is confirmed, and took effect in that order
    confirmed: dict[str | int, Any] = {}
    messages: list[Any] = []
    while len(confirmed) < 55 or len(messages) < 51:
        frame = await stream.next()
        if frame["type"] == "message":
            messages.append(frame)
        else:
            assert frame["type"] in ("confirmed", "published"), frame
            confirmed[frame["ref"]] = frame
    assert confirmed[1]["type"] == confirmed[2]["type"] == confirmed[3]["type"] == "confirmed"
    assert confirmed["direct"]["id"] == "direct"
    assert confirmed["m0"]["offset"] > confirmed[1]["offset"]
    group = [m["body"] for m in messages if m["group"] == "streamed"]
    assert group == [str(number) for number in range(50)]
    assert {m["id"] for m in messages if m["group"] == "streamed"} == {
        confirmed[f"m{number}"]["id"] for number in range(50)
    }
    await stream.silence(0.2)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad_json"),
        ("[]", "bad_json"),
        ("{}", "bad_field"),
        ('{"type":"dance"}', "bad_type"),
        ('{"type":"message","queue":"q","body":"x"}', "bad_type"),
        ('{"type":"ping","ref":[1]}', "bad_field"),
        ('{"type":"subscribe"}', "bad_field"),
        ('{"type":"subscribe","queue":""}', "bad_id"),
        ('{"type":"subscribe","queue":"q","after":-1}', "bad_field"),
        ('{"type":"subscribe","queue":"q","credit":9999999}', "bad_field"),
        ('{"type":"subscribe","queue":"q","afterr":1}', "bad_field"),
        ('{"type":"credit","queue":"q","more":1}', "not_subscribed"),
        ('{"type":"unsubscribe","queue":"q"}', "not_subscribed"),
        ('{"type":"ack","queue":"q"}', "bad_field"),
        ('{"type":"publish","group":"g","queue":"q","body":"x"}', "bad_field"),
        ('{"type":"publish","group":"g","body_base64":"?"}', "bad_base64"),
        ('{"type":"publish","group":"g","body":"' + "x" * 300_000 + '"}', "too_large"),
        ('{"type":"bind","group":"@q","queue":"q"}', "bad_id"),
    ],
)
async def test_an_invalid_frame_gets_an_error_and_the_stream_continues(
    streams: list[Stream], text: str, code: str
) -> None:
    stream = streams[0]
    await stream.socket.send_str(text)
    error = await stream.hear("error")
    assert error["code"] == code
    assert error["message"]
    await stream.say("ping", ref="still here")
    assert await stream.next() == {"type": "pong", "ref": "still here"}


async def test_invalid_handshakes_and_frames_are_refused(cluster: Cluster) -> None:
    url = f"{cluster.urls[0]}/v1/stream"
    async with cluster.session.get(url) as answer:
        assert answer.status == 426
    async with cluster.session.head(url) as answer:
        assert answer.status == 426
    async with cluster.session.get(
        url, headers={"Upgrade": "websocket", "Connection": "upgrade"}
    ) as answer:
        assert answer.status == 400
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await cluster.session.ws_connect(url, origin="http://elsewhere.example")
    assert refused.value.status == 403

    # A binary or oversized frame closes the connection with the proper code, even if the rest
    # of the frame is still arriving when it is refused
    for frame, code in ((b"\0", 1003), (b"x" * 3_000_000, 1009), (b"x" * 30_000_000, 1009)):
        async with cluster.session.ws_connect(url) as socket:
            if code == 1003:
                await socket.send_bytes(frame)
            else:
                # Also while many answers are pending
                await socket.send_json([{"type": "ping"}] * 500)
                await socket.send_str(frame.decode())
            message = await socket.receive(timeout=120)
            while message.type is aiohttp.WSMsgType.TEXT:
                message = await socket.receive(timeout=120)
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert message.data == code


async def test_frames_in_arrays(cluster: Cluster) -> None:
    # Given queues of both workers, each with messages
    queues = [await cluster.queue_of(worker, "array") for worker in (0, 1)]
    for queue in queues:
        for number in range(5):
            await cluster.post(f"/v1/queues/{queue}/messages", {"body": str(number)})
        await cluster.depth(queue, 5)

    # When a client that asked for arrays subscribes to both in one frame
    async with cluster.session.ws_connect(f"{cluster.urls[0]}/v1/stream?batch=1") as socket:
        await socket.send_json([{"type": "subscribe", "queue": queue} for queue in queues])

        async def hear(kind: str, count: int) -> list[Any]:
            found: list[Any] = []
            while len(found) < count:
                frames = await socket.receive_json(timeout=120)
                assert isinstance(frames, list)
                found += [frame for frame in frames if frame["type"] == kind]
            return found

        # Then all frames arrive in arrays
        messages = await hear("message", 10)
        for queue in queues:
            bodies = [m["body"] for m in messages if m["queue"] == queue]
            assert bodies == list("01234")

        # and one array acknowledges them all, despite invalid frames beside them
        acks = [{"type": "ack", "queue": m["queue"], "seqs": [m["seq"]]} for m in messages]
        await socket.send_json([*acks, 7, {"type": "ack"}])
        assert len(await hear("error", 2)) == 2
        for queue in queues:
            await cluster.depth(queue, 0)
    async with cluster.session.get(f"{cluster.urls[0]}/v1/stream?batch=2") as answer:
        assert answer.status == 400


async def test_one_connection_has_a_limit_of_subscriptions(streams: list[Stream]) -> None:
    stream = streams[0]
    for number in range(10_001):
        await stream.say("subscribe", queue=f"many-{number}", credit=0, ref=number)
    answers = [await stream.next() for _ in range(10_001)]
    assert {answer["type"] for answer in answers[:-1]} == {"subscribed"}
    assert (answers[-1]["code"], answers[-1]["ref"]) == ("busy", 10_000)
    await stream.say("unsubscribe", queue="many-0")
    await stream.hear("unsubscribed")
    await stream.say("subscribe", queue="many-again")
    await stream.hear("subscribed")


async def deaf(url: str, queue: str) -> asyncio.StreamWriter:
    """Subscribe to a queue and never read from the connection."""
    _reader, writer = await asyncio.open_connection("127.0.0.1", int(url[-5:]))
    writer.write(
        b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    frame = json.dumps({"type": "subscribe", "queue": queue}).encode()
    writer.write(bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame)
    await writer.drain()
    return writer


async def test_a_client_that_does_not_read_delays_nobody_and_holds_little_memory(
    cluster: Cluster, streams: list[Stream]
) -> None:
    async def relayed() -> float:
        async with cluster.session.get(f"{cluster.urls[1]}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        name = 'streams_stream_messages_total{how="relayed"} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    # Given a queue with more than the buffers hold, and a client that does not read
    queue = await cluster.queue_of(0, "slow")
    body = "x" * 200_000
    for _ in range(60):
        await cluster.post(f"/v1/queues/{queue}/messages", {"body": body})
    await cluster.depth(queue, 60)
    before = await relayed()
    writer = await deaf(cluster.urls[1], queue)
    await asyncio.sleep(1.0)

    # Then another client still gets everything
    await streams[1].say("subscribe", queue=queue)
    await streams[1].hear("subscribed")
    assert len(await streams[1].messages(60)) == 60
    writer.close()
    assert await relayed() - before < 110  # 60 for this client, and what fits into buffers


async def test_server_sent_events_resume_after_the_last_id(cluster: Cluster) -> None:
    for worker in (0, 1):
        queue = await cluster.queue_of(worker, "sse")
        for number in range(3):
            await cluster.post(f"/v1/queues/{queue}/messages", {"body": f"{number}\nline"})
        url = f"{cluster.urls[0]}/v1/queues/{queue}/events"

        async def events(
            count: int, url: str = url, **headers: str
        ) -> list[tuple[str, dict[str, Any]]]:
            found: list[tuple[str, dict[str, Any]]] = []
            async with cluster.session.get(url, headers=headers) as answer:
                assert answer.content_type == "text/event-stream"
                # the same from the owner and from the other worker: no proxy may hold them back
                assert answer.headers["X-Accel-Buffering"] == "no"
                assert answer.headers["Cache-Control"] == "no-cache, no-transform"
                last = ""
                while len(found) < count:
                    line = (await asyncio.wait_for(answer.content.readline(), 120)).decode()
                    if line.startswith("id: "):
                        last = line[4:].strip()
                    if line.startswith("data: "):
                        found.append((last, json.loads(line[6:])))
            return found

        first = await events(2)
        assert [data["body"] for _, data in first] == ["0\nline", "1\nline"]
        assert [event for event, _ in first] == [str(data["seq"]) for _, data in first]
        waiting = asyncio.create_task(events(2, **{"Last-Event-ID": first[-1][0]}))
        await asyncio.sleep(0.3)
        await cluster.post(f"/v1/queues/{queue}/messages", {"body": "4"})
        assert [data["body"] for _, data in await waiting] == ["2\nline", "4"]
        async with cluster.session.get(url, headers={"Last-Event-ID": "x"}) as answer:
            assert answer.status == 400
        async with cluster.session.head(url) as answer:
            assert answer.status == 200


@pytest.mark.fault
@pytest.mark.parametrize("fate", ["killed", "frozen"])
async def test_a_subscription_survives_the_loss_of_the_owner(
    cluster: Cluster, streams: list[Stream], fate: str
) -> None:
    # Given a client of the first worker, subscribed to queues of the second, and a publisher
    stream = streams[0]
    queues = [await cluster.queue_of(1, f"{fate}{n}") for n in range(5)]
    for queue in queues:
        await stream.say("subscribe", queue=queue, credit=1000)
        await stream.hear("subscribed")
    published: dict[str, list[str]] = {queue: [] for queue in queues}

    async def publish() -> None:
        for number in range(120):
            for queue in queues:
                body = {"body": str(number), "id": f"{queue}-{number}"}
                await cluster.post(f"/v1/queues/{queue}/messages", body)
                published[queue].append(body["id"])
            await asyncio.sleep(0.1)

    publishing = asyncio.create_task(publish())
    heard: dict[str, list[Any]] = {queue: [] for queue in queues}
    told = set()

    async def hear(until: int) -> None:
        while sum(map(len, heard.values())) < until:
            frame = await stream.next(timeout=120)
            told.add(frame["type"])
            if frame["type"] == "message":
                heard[frame["queue"]].append(frame)

    await hear(50)

    # When the owner is lost meanwhile, and comes back later
    if fate == "killed":
        cluster.kill(1)
    else:
        cluster.send_signal(1, signal.SIGSTOP)
    try:
        await hear(300)
    finally:
        if fate == "frozen":
            cluster.send_signal(1, signal.SIGCONT)
        else:
            cluster.restart(1)
    await hear(600)  # while it publishes: who reads nothing answers no ping, and is disconnected
    await publishing

    # Then nothing was lost or delivered twice, and everything came in order
    with suppress(TimeoutError):
        while True:  # a queue may still move back to its owner of before
            frame = await stream.next(1.0)
            told.add(frame["type"])
            if frame["type"] == "message":
                heard[frame["queue"]].append(frame)
    for queue in queues:
        assert [frame["id"] for frame in heard[queue]] == published[queue]
        seqs = [frame["seq"] for frame in heard[queue]]
        assert seqs == sorted(set(seqs))
    assert told - {"unavailable"} == {"message", "moved"}
    if fate == "killed":
        assert "unavailable" in told
    await cluster.owners()


@pytest.mark.fault
async def test_a_stopping_worker_closes_its_streams_and_waits_for_none(
    cluster: Cluster, streams: list[Stream]
) -> None:
    # Given a client that reads, and one that does not
    queue = await cluster.queue_of(0, "goodbye")
    for _ in range(60):
        await cluster.post(f"/v1/queues/{queue}/messages", {"body": "x" * 200_000})
    await cluster.depth(queue, 60)
    writer = await deaf(cluster.urls[1], queue)
    await asyncio.sleep(1.0)

    # When the worker is told to stop
    process = cluster.workers.processes[1].process
    assert process is not None
    process.terminate()

    # Then the first gets a close frame, and the worker ends soon
    message = await streams[1].socket.receive(timeout=120)
    assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
    await asyncio.to_thread(process.wait, 120)
    writer.close()
    cluster.restart(1)
    await cluster.owners()
