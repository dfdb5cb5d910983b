"""The gateways of two real workers over HTTP: either of them answers for both."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from two_workers import PARTITIONS, agreed_owners, queue_owned_by, two_workers
from yarl import URL

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.kafka.partitioner import partition_of
from streams.operate.processes import Workers


class Client:
    """Sends requests to the workers exactly as written."""

    def __init__(self, running: Workers, session: aiohttp.ClientSession) -> None:
        self.workers = running
        self.session = session

    @property
    def urls(self) -> list[str]:
        return self.workers.urls

    async def ask(
        self, worker: int, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = URL(self.urls[worker] + path, encoded=True)
        async with self.session.request(method, url, data=data, headers=headers) as answer:
            content = await answer.read()
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) >= 1
            if answer.content_type != "application/json" or not content:
                return answer.status, content
            return answer.status, json.loads(content)

    async def until(self, worker: int, path: str, wanted: Any, key: str) -> None:
        """Ask until the response has the value `wanted` at `key`."""
        deadline = time.monotonic() + 120
        while True:
            status, content = await self.ask(worker, "GET", path)
            if status == 200 and content[key] == wanted:
                return
            assert time.monotonic() < deadline, (path, status, content)
            await asyncio.sleep(0.05)

    async def owners(self) -> dict[tuple[str, int], int]:
        """Return which worker owns each table partition, once both agree."""

        async def get(worker: int, path: str) -> tuple[int, Any]:
            return await self.ask(worker, "GET", path)

        return await agreed_owners(self.urls, get)


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    with two_workers(kafka, tmp_path_factory.mktemp("gateway"), "gateway", 17066) as started:
        yield started


@pytest.fixture
async def client(running: Workers) -> AsyncIterator[Client]:
    timeout = aiohttp.ClientTimeout(total=240)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        client = Client(running, session)
        await client.owners()
        yield client


def path_of(*ids: str) -> list[str]:
    return [quote(one, safe="") for one in ids]


async def test_any_worker_answers_for_the_whole_cluster(client: Client) -> None:
    # Given a group and queues with ids of all kinds, bound through alternating workers
    group, *queues = path_of("any/worker", "a/b", "%", "ж😀", "..", "plain", "q" * 255)
    for number, queue in enumerate(queues):
        bound = await client.ask(number % 2, "PUT", f"/v1/groups/{group}/queues/{queue}")
        assert bound == (204, b"")

    # When a message is sent to the group
    status, sent = await client.ask(
        0, "POST", f"/v1/groups/{group}/messages", {"sender": "me", "body": "hé", "kind": "vote"}
    )
    assert status == 201

    # Then every queue gets it, and both workers give the same answers
    members = sorted(["a/b", "%", "ж😀", "..", "plain", "q" * 255], key=str.encode)
    for worker in (0, 1):
        for queue in queues:
            await client.until(worker, f"/v1/queues/{queue}", 1, "depth")
            status, inbox = await client.ask(worker, "GET", f"/v1/queues/{queue}/messages")
            assert status == 200
            (message,) = inbox["messages"]
            assert message["seq"] > 0
            assert message["at"] > 1_700_000_000_000
            assert {key: message[key] for key in message if key not in ("seq", "at")} == {
                "id": sent["id"],
                "group": "any/worker",
                "sender": "me",
                "kind": "vote",
                "headers": {},
                "body": "hé",
            }
            status, groups = await client.ask(worker, "GET", f"/v1/queues/{queue}/groups")
            assert (status, groups) == (200, {"groups": ["any/worker"], "next": None})
        status, listed = await client.ask(worker, "GET", f"/v1/groups/{group}/queues?limit=4")
        assert (status, listed) == (200, {"queues": members[:4], "next": members[3]})
        (after,) = path_of(listed["next"])
        rest = await client.ask(worker, "GET", f"/v1/groups/{group}/queues?limit=4&after={after}")
        assert rest == (200, {"queues": members[4:], "next": None})


async def test_a_write_through_a_worker_is_visible_there_at_once(client: Client) -> None:
    for number in range(40):
        worker = number % 2
        path = f"/v1/groups/own-{number}/queues"
        assert (await client.ask(worker, "PUT", f"{path}/q"))[0] == 204
        assert (await client.ask(worker, "GET", path))[1]["queues"] == ["q"]
        assert (await client.ask(worker, "DELETE", f"{path}/q"))[0] == 204
        assert (await client.ask(worker, "GET", path))[1]["queues"] == []


async def test_a_direct_message_wakes_all_waiting_readers(client: Client) -> None:
    # Given two readers that wait at each worker
    waits = [
        asyncio.create_task(client.ask(n % 2, "GET", "/v1/queues/waiting/messages?wait=60"))
        for n in range(4)
    ]
    await asyncio.sleep(0.5)
    assert not any(wait.done() for wait in waits)

    # When a binary message arrives, and the client sends it twice
    body = {"body_base64": "AP8=", "id": "once", "headers": {"a": "b"}}
    for worker in (0, 1):
        sent = await client.ask(worker, "POST", "/v1/queues/waiting/messages", body)
        assert sent[0] == 201
        assert sent[1]["id"] == "once"

    # Then all get it at once, long before their wait ends, and only once
    for status, inbox in await asyncio.wait_for(asyncio.gather(*waits), 55):
        assert status == 200
        (message,) = inbox["messages"]
        assert (message["id"], message["body_base64"]) == ("once", "AP8=")
        assert message["headers"] == {"a": "b"}

    # and once acknowledged it is gone, at both workers
    path = "/v1/queues/waiting"
    assert (await client.ask(0, "POST", f"{path}/acks", {"upto": message["seq"]}))[0] == 204
    for worker in (0, 1):
        await client.until(worker, path, 0, "depth")
        empty = await client.ask(worker, "GET", f"{path}/messages?after=0&wait=0.1")
        assert empty == (200, {"messages": []})


async def test_a_session_binds_and_its_end_unbinds(client: Client) -> None:
    path = "/v1/queues/resident"
    opened = await client.ask(0, "PUT", f"{path}/sessions/s1", {"groups": ["room", "hall"]})
    assert opened == (204, b"")
    await client.until(1, path, 2, "groups")
    assert (await client.ask(1, "GET", path))[1]["session"] == "s1"
    assert (await client.ask(1, "PUT", f"{path}/sessions/s2"))[0] == 204
    await client.until(0, path, 0, "groups")
    assert (await client.ask(0, "DELETE", f"{path}/sessions/s2"))[0] == 204
    await client.until(1, path, None, "session")


async def test_many_events_are_confirmed_together(client: Client) -> None:
    # Given ten thousand events
    lines = [{"type": "bind", "group": "bulk", "queue": f"bulk-{n:05}"} for n in range(9_998)]
    lines += [{"type": "message", "group": "bulk", "body": "x", "id": "bulk-1"}]
    lines += [{"type": "message", "queue": "bulk-00007", "body": "y"}]
    body = b"\n".join(json.dumps(line).encode() for line in lines) + b"\n\n"

    # When they are sent twice, as by a client that got no response
    for worker in (0, 1):
        assert await client.ask(worker, "POST", "/v1/events", body) == (200, {"events": 10_000})

    # Then each counts once
    for worker in (0, 1):
        await client.until(worker, "/v1/queues/bulk-00005", 1, "depth")
        await client.until(worker, "/v1/queues/bulk-09997", 1, "depth")
        await client.until(worker, "/v1/queues/bulk-00007", 3, "depth")
    _, inbox = await client.ask(0, "GET", "/v1/queues/bulk-00007/messages")
    assert sorted(message["body"] for message in inbox["messages"]) == ["x", "y", "y"]
    seen: list[str] = []
    after = ""
    while True:
        query = f"?limit=1000{after}"
        _, page = await client.ask(1, "GET", f"/v1/groups/bulk/queues{query}")
        seen += page["queues"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert seen == [f"bulk-{n:05}" for n in range(9_998)]


async def test_one_invalid_event_rejects_the_whole_request(client: Client) -> None:
    good = b'{"type":"bind","group":"none","queue":"q"}\n'
    for bad in (b"{", b"[]", b'{"type":"bind","group":"@q","queue":"q"}', b'{"type":"x"}'):
        status, answer = await client.ask(0, "POST", "/v1/events", good + b"\n" + bad + b"\n")
        assert status == 400
        assert answer["error"]["message"].startswith("line 3: ")
    assert (await client.ask(0, "GET", "/v1/groups/none/queues"))[1]["queues"] == []
    assert await client.ask(0, "POST", "/v1/events", b"") == (200, {"events": 0})


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nothing", None, 404, "not_found"),
        ("GET", "/v1/queues/q/nothing", None, 404, "not_found"),
        ("POST", "/v1/cluster", None, 405, "method_not_allowed"),
        ("DELETE", "/v1/groups/g/messages", None, 405, "method_not_allowed"),
        ("PUT", "/v1/groups//queues/q", None, 400, "bad_id"),
        ("PUT", "/v1/groups/%ff/queues/q", None, 400, "bad_id"),
        ("PUT", "/v1/groups/a%00/queues/q", None, 400, "bad_id"),
        ("PUT", "/v1/groups/%40q/queues/q", None, 400, "bad_id"),
        ("PUT", f"/v1/groups/{'x' * 256}/queues/q", None, 400, "bad_id"),
        ("GET", "/v1/queues/q/messages?wait=61", None, 400, "bad_parameter"),
        ("GET", "/v1/queues/q/messages?limit=0", None, 400, "bad_parameter"),
        ("GET", "/v1/queues/q/messages?after=-1", None, 400, "bad_parameter"),
        ("GET", "/v1/groups/g/queues?limt=1", None, 400, "bad_parameter"),
        ("GET", "/v1/groups/g/queues?after=%00", None, 400, "bad_id"),
        ("POST", "/v1/groups/g/messages", b"\xff", 400, "bad_json"),
        ("POST", "/v1/groups/g/messages", b"[" * 100_000, 400, "bad_json"),
        ("POST", "/v1/groups/g/messages", b'{"body":"\\ud800"}', 400, "bad_json"),
        ("POST", "/v1/groups/g/messages", {"body_base64": "?"}, 400, "bad_base64"),
        ("POST", "/v1/groups/g/messages", {"body": "x" * 300_000}, 413, "too_large"),
        ("POST", "/v1/groups/g/messages", b" " * 3_000_000, 413, "too_large"),
        ("POST", "/v1/queues/q/acks", {}, 400, "bad_field"),
        ("PUT", "/v1/queues/q/sessions/s", {"groups": ["@q"]}, 400, "bad_id"),
        ("GET", "/v1/tables/members/99/rows", None, 404, "not_found"),
        ("GET", "/v1/tables/members/0/rows?after=*", None, 400, "bad_base64"),
    ],
)
async def test_invalid_requests_get_an_error_code(
    client: Client, method: str, path: str, body: Any, status: int, code: str
) -> None:
    for worker in (0, 1):
        answered, content = await client.ask(worker, method, path, body)
        assert (answered, content["error"]["code"]) == (status, code)
        assert set(content["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"not http\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/events HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
    ],
)
async def test_malformed_http_gets_an_error_response(client: Client, request_bytes: bytes) -> None:
    url = URL(client.urls[0])
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request_bytes)
    async with asyncio.timeout(240):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.split(b" ")[1] in (b"400", b"415")
    assert (await client.ask(0, "GET", "/healthz")) == (200, {"status": "ok"})


async def test_head_and_options(client: Client) -> None:
    for worker in (0, 1):
        url = f"{client.urls[worker]}/v1/queues/q/messages"
        async with client.session.options(url) as answer:
            assert answer.status == 204
            assert answer.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
        async with client.session.head(url) as answer:
            assert answer.status == 200
            assert await answer.read() == b""


async def test_raw_rows_are_read_page_by_page(client: Client) -> None:
    assert (await client.ask(0, "PUT", "/v1/groups/rows/queues/q"))[0] == 204
    number = partition_of(b"rows", PARTITIONS)
    keys: list[str] = []
    for worker in (0, 1):
        path = f"/v1/tables/members/{number}/rows"
        status, whole = await client.ask(worker, "GET", f"{path}?limit=10000")
        assert status == 200
        keys = [key for key, _ in whole["rows"]]
        assert whole["position"] > 0
        assert whole["next"] is None
        _, first = await client.ask(worker, "GET", f"{path}?limit=1")
        assert [key for key, _ in first["rows"]] == keys[:1]
        if first["next"] is not None:
            _, rest = await client.ask(worker, "GET", f"{path}?limit=10000&after={first['next']}")
            assert [key for key, _ in rest["rows"]] == keys[1:]
    assert "bXJvd3MAcQ" in keys  # b"mrows\0q"


async def test_metrics_count_requests_and_publishes(client: Client) -> None:
    async with client.session.get(f"{client.urls[0]}/metrics") as answer:
        assert answer.status == 200
        assert answer.content_type == "text/plain"
        text = await answer.text()
    for name in (
        'streams_publishes_total{type="Bind"}',
        'streams_http_requests_total{method="GET",route="/v1/cluster",status="200"}',
        "streams_partition_lag_records{",
        "streams_long_polls 0.0",
        "process_resident_memory_bytes",
    ):
        assert name in text


async def test_a_worker_tells_what_its_parts_and_threads_are_doing(client: Client) -> None:
    # Given a worker at rest, When it is asked for its internals
    status, answer = await client.ask(0, "GET", "/v1/cluster?debug=1")
    assert status == 200
    debug = answer["debug"]
    # Then it tells of the group, the source reader, its partitions, and its threads
    assert debug["group"]["session_timeout_seconds"] == 6.0
    assert not debug["group"]["missed_generation"]
    own = {(row["table"], row["partition"]) for row in answer["partitions"] if "state" in row}
    assert own
    assert {(row["table"], row["partition"]) for row in debug["partitions"]} == own
    assert len(debug["source_reader"]["partitions"]) == len(own)
    for row in debug["partitions"]:
        assert row["state"] == "ready"
        assert any(" _idle" in call or " _work" in call for call in row["task"])
    threads = {name for row in debug["threads"] for name in row["threads"]}
    assert {"MainThread", "source", "outputs", "publisher"} <= threads
    # And otherwise it does not
    assert "debug" not in (await client.ask(0, "GET", "/v1/cluster"))[1]
    # And what it does not use then is checked, too
    assert (await client.ask(0, "GET", "/v1/cluster?debug=1&all=2"))[0] == 400
    assert (await client.ask(0, "GET", "/v1/cluster?debug=2"))[0] == 400


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
async def test_a_signal_makes_a_worker_log_its_stacks_and_go_on(
    client: Client, number: signal.Signals
) -> None:
    worker = client.workers.processes[1]
    assert worker.process is not None
    before = worker.log.read_text(errors="replace").count("Current thread")
    worker.process.send_signal(number)
    deadline = time.monotonic() + 120
    while worker.log.read_text(errors="replace").count("Current thread") == before:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert (await client.ask(1, "GET", "/healthz"))[0] == 200


@pytest.mark.fault
async def test_a_dead_owner_is_unavailable_until_another_takes_over(
    client: Client,
) -> None:
    # Given a queue that the second worker owns, with a message, and a reader waiting for more
    queue = queue_owned_by(1, await client.owners(), "mortal-")
    path = f"/v1/queues/{queue}"
    assert (await client.ask(1, "POST", f"{path}/messages", {"body": "1"}))[0] == 201
    await client.until(0, path, 1, "depth")
    _, inbox = await client.ask(0, "GET", f"{path}/messages")
    seq = inbox["messages"][0]["seq"]
    wait = asyncio.create_task(client.ask(0, "GET", f"{path}/messages?wait=60&after={seq}"))
    await asyncio.sleep(0.3)

    # When that worker is killed
    process = client.workers.processes[1].process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    # Then the waiting reader is told at once, and so is a new one; publishing still works
    status, _ = await asyncio.wait_for(wait, 55)
    assert status == 503
    assert (await client.ask(0, "GET", path))[0] == 503
    assert (await client.ask(0, "POST", f"{path}/messages", {"body": "2"}))[0] == 201

    # and when the first worker has taken over, everything is there
    await client.until(0, path, 2, "depth")
    _, inbox = await client.ask(0, "GET", f"{path}/messages")
    assert [message["body"] for message in inbox["messages"]] == ["1", "2"]

    # and when the second is back, both workers serve it again
    client.workers.processes[1].start()
    await client.owners()
    for worker in (0, 1):
        await client.until(worker, path, 2, "depth")
