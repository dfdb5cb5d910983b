"""Sessions, messages and queues at a real worker over HTTP: every feature and option."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from two_workers import START_SECONDS, run_workers, wait_until_ready

from streams.kafka.embedded.cluster import EmbeddedKafka
from streams.operate.processes import Workers


class Client:
    """Sends requests to the worker."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and content; retries while the worker is unavailable."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            async with self.session.request(method, self.url + path, json=body) as answer:
                content = await answer.read()
                if answer.status != 503 or time.monotonic() > deadline:
                    return answer.status, json.loads(content) if content else None
            await asyncio.sleep(0.2)

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that must succeed; return the response."""
        status, content = await self.ask(method, path, body)
        assert status < 300, (method, path, status, content)
        return content

    async def inbox(self, queue: str) -> list[Any]:
        content = await self.do("GET", f"/v1/queues/{queue}/messages")
        return list(content["messages"])

    async def bodies(self, queue: str, wanted: list[str], seconds: float = 120.0) -> list[Any]:
        """Wait until a queue holds these bodies; return its messages."""
        deadline = time.monotonic() + seconds
        while True:
            found = await self.inbox(queue)
            if [message["body"] for message in found] == wanted:
                return found
            assert time.monotonic() < deadline, (queue, found)
            await asyncio.sleep(0.05)

    async def send(self, queue: str, body: str, **fields: Any) -> Any:
        path = f"/v1/queues/{queue}/messages"
        return await self.do("POST", path, {"body": body, **fields})

    async def lease(self, queue: str, wait: float = 0, **fields: Any) -> list[Any]:
        content = await self.do("POST", f"/v1/queues/{queue}/leases?wait={wait}", fields)
        return list(content["messages"])


@pytest.fixture(scope="module")
def running(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    data = tmp_path_factory.mktemp("queues")
    with run_workers(1, kafka, data, "queues", 18066, {"STREAMS_PARTITIONS": "2"}) as started:
        wait_until_ready(started)
        yield started


@pytest.fixture
async def client(running: Workers) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(running.urls[0], session)


async def test_a_session_without_heartbeats_ends_and_its_watchers_are_told(client: Client) -> None:
    # Given a watcher, and a session with a group and a ttl of four seconds
    await client.do("PUT", "/v1/groups/presence:ann/queues/watcher")
    session = {"groups": ["hall"], "ttl_seconds": 4}
    await client.do("PUT", "/v1/queues/ann/sessions/s1", session)
    # When it gets heartbeats, then it stays open
    for _ in range(4):
        await asyncio.sleep(1.2)
        await client.do("POST", "/v1/queues/ann/sessions/s1/heartbeats")
    assert (await client.do("GET", "/v1/queues/ann"))["session"] == "s1"
    # When the heartbeats stop, then it ends with its bindings, and the watcher is told
    said = [{"queue": "ann", "state": state, "session": "s1"} for state in ("online", "offline")]
    deadline = time.monotonic() + 120
    while True:
        found = [json.loads(message["body"]) for message in await client.inbox("watcher")]
        if found == said:
            break
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)
    summary = await client.do("GET", "/v1/queues/ann")
    assert (summary["session"], summary["groups"]) == (None, 0)
    status, content = await client.ask("POST", "/v1/queues/ann/sessions/s1/heartbeats")
    assert (status, content["error"]["code"]) == (404, "no_session")


async def test_an_expired_message_is_gone(client: Client) -> None:
    now = time.time_ns() // 1_000_000
    await client.send("egon", "late", expires_at=now - 1)
    await client.send("egon", "long", expires_at=now + 600_000)
    now = time.time_ns() // 1_000_000
    await client.send("egon", "short", expires_at=now + 5000)
    await client.bodies("egon", ["long", "short"])
    await client.bodies("egon", ["long"])
    await asyncio.sleep(0.3)
    assert (await client.do("GET", "/v1/queues/egon"))["depth"] == 1


async def test_a_time_in_seconds_is_refused(client: Client) -> None:
    seconds = int(time.time()) + 60
    path = "/v1/queues/erna/messages"
    status, content = await client.ask("POST", path, {"body": "x", "expires_at": seconds})
    assert (status, content["error"]["code"]) == (400, "bad_field")
    assert "milliseconds since 1970" in content["error"]["message"]
    assert await client.inbox("erna") == []


async def test_a_position_in_milliseconds_is_refused(client: Client) -> None:
    await client.do("POST", "/v1/groups/annals/messages", {"body": "1"})
    now = time.time_ns() // 1_000_000
    for wrong in (f"from={now}", f"from={now // 1000}", f"to={now}"):
        status, content = await client.ask("GET", f"/v1/groups/annals/messages?{wrong}")
        assert (status, content["error"]["code"]) == (400, "bad_parameter"), wrong
        assert "ISO 8601" in content["error"]["message"]
    replay = {"queue": "copy", "from": now}
    status, content = await client.ask("POST", "/v1/groups/annals/replays", replay)
    assert (status, content["error"]["code"]) == (400, "bad_field")
    # and the offset to continue from is one, as is a later one to stop at
    found = await client.do("GET", "/v1/groups/annals/messages?from=&to=1000000")
    assert [message["body"] for message in found["messages"]] == ["1"]
    after = await client.do("GET", f"/v1/groups/annals/messages?from={found['next']}")
    assert (after["messages"], after["end"]) == ([], True)


async def test_a_time_is_no_seq(client: Client) -> None:
    now = time.time_ns() // 1_000_000
    await client.do("GET", "/v1/queues/quintus/messages?after=4097")
    await client.send("quintus", "x")
    await client.bodies("quintus", ["x"])
    for wrong in (now // 1000, now, now * 1000):
        for path in ("messages", "events"):
            status, content = await client.ask("GET", f"/v1/queues/quintus/{path}?after={wrong}")
            assert (status, content["error"]["code"]) == (400, "bad_parameter"), path
            assert "not a time" in content["error"]["message"]
        line = {"type": "ack", "queue": "quintus", "upto": wrong}
        for path, body in (
            ("queues/quintus/acks", {"upto": wrong}),
            ("queues/quintus/acks", {"seqs": [1, wrong]}),
            ("queues/quintus/nacks", {"seqs": [wrong]}),
            ("events", line),
        ):
            status, content = await client.ask("POST", f"/v1/{path}", body)
            assert (status, content["error"]["code"]) == (400, "bad_field"), path
            assert "not a time" in content["error"]["message"]
    # and nothing was acknowledged
    await client.bodies("quintus", ["x"])


async def test_parameters_without_a_value_are_absent(client: Client) -> None:
    await client.send("empty", "x")
    await client.bodies("empty", ["x"])
    found = await client.do("GET", "/v1/queues/empty/messages?after=&limit=&wait=")
    assert [message["body"] for message in found["messages"]] == ["x"]
    await client.do("GET", "/v1/queues/empty/groups?after=&limit=")
    await client.do("GET", "/v1/cluster?all=")
    status, _ = await client.ask("GET", "/v1/queues/empty/messages?befor=")
    assert status == 400


async def test_a_message_that_dies_twice_tells_of_its_first_death(client: Client) -> None:
    await client.do("PUT", "/v1/queues/first/options", {"dead_letter": "second"})
    await client.do("PUT", "/v1/queues/second/options", {"dead_letter": "third"})
    await client.send("first", "x")
    for queue in ("first", "second"):
        (job,) = await client.lease(queue, wait=20)
        nack = {"seqs": [job["seq"]], "outcome": "reject"}
        await client.do("POST", f"/v1/queues/{queue}/nacks", nack)
    (dead,) = await client.bodies("third", ["x"])
    headers = dead["headers"]
    assert headers["dead-letter-queue"] == "first"
    assert headers["dead-letter-last-queue"] == "second"
    assert headers["dead-letter-count"] == "2"


async def test_no_cache_on_the_way_answers_in_place_of_a_worker(client: Client) -> None:
    async with client.session.get(f"{client.url}/v1/queues/cached/messages") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
    async with client.session.get(f"{client.url}/v1/queues/@/nothing") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
    async with client.session.get(f"{client.url}/page/page.js") as answer:
        assert answer.headers["Cache-Control"] == "no-cache"


async def test_a_transient_message_needs_a_session(client: Client) -> None:
    await client.send("tim", "nobody there", persistent=False)
    await client.send("tim", "first")
    (first,) = await client.bodies("tim", ["first"])
    await client.do("POST", "/v1/queues/tim/acks", {"upto": first["seq"]})
    await client.do("PUT", "/v1/queues/tim/sessions/s")
    await client.send("tim", "now", persistent=False)
    await client.send("tim", "kept")
    (first, _) = await client.bodies("tim", ["now", "kept"])
    assert first["persistent"] is False
    await client.do("DELETE", "/v1/queues/tim/sessions/s")
    await client.bodies("tim", ["kept"])


async def test_a_receipt_and_no_echo(client: Client) -> None:
    for queue in ("rosa", "paul"):
        await client.do("PUT", f"/v1/groups/pair/queues/{queue}")
    sent = {"sender": "rosa", "body": "hello", "id": "h1", "receipt": True, "echo": False}
    await client.do("POST", "/v1/groups/pair/messages", sent)
    (message,) = await client.bodies("paul", ["hello"])
    assert await client.inbox("rosa") == []
    await client.do("POST", "/v1/queues/paul/acks", {"upto": message["seq"]})
    answer = await client.do("GET", "/v1/queues/rosa/messages?wait=60")
    (receipt,) = answer["messages"]
    assert receipt["kind"] == "receipt"
    body = json.loads(receipt["body"])
    assert (body["id"], body["group"], body["queue"]) == ("h1", "pair", "paul")
    status, _ = await client.ask("POST", "/v1/groups/pair/messages", {"body": "", "receipt": True})
    assert status == 400


async def test_competing_consumers_share_a_queue(client: Client) -> None:
    # Given jobs, one of them urgent
    for number in range(5):
        await client.send("jobs", f"job {number}", priority=9 if number == 3 else 4)
    await client.bodies("jobs", [f"job {number}" for number in range(5)])
    # When two consumers lease at the same time
    one, two = await asyncio.gather(
        client.lease("jobs", limit=2, consumer="one", visibility_seconds=60),
        client.lease("jobs", limit=2, consumer="two", visibility_seconds=5),
    )
    # Then no job is leased twice, and the urgent one is among the first
    taken = [message["body"] for message in one + two]
    assert sorted(taken) == ["job 0", "job 1", "job 2", "job 3"]
    assert "job 3" in (one[0]["body"], two[0]["body"])
    assert {message["consumer"] for message in one} == {"one"}
    # When one consumer finishes, and the other dies
    await client.do("POST", "/v1/queues/jobs/acks", {"seqs": [m["seq"] for m in one]})
    # Then the next gets the rest, and later the jobs of the dead one
    (left,) = await client.lease("jobs", limit=10)
    assert (left["body"], left["tries"]) == ("job 4", 1)
    again = await client.lease("jobs", limit=10, wait=60)
    assert {m["seq"] for m in again} <= {m["seq"] for m in two}
    assert {m["tries"] for m in again} == {2}


async def test_a_lease_takes_no_more_than_fits_in_a_response(client: Client) -> None:
    # Given jobs of 6 MB
    await asyncio.gather(*(client.send("heavy", "x" * 250_000) for _ in range(24)))
    deadline = time.monotonic() + 120
    while (await client.do("GET", "/v1/queues/heavy"))["depth"] < 24:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    # When a consumer asks for all, Then it gets 4 MiB and the job that goes past them
    one = await client.lease("heavy", limit=1000, visibility_seconds=600)
    assert len(one) == 17
    # and the others are left for the next Lease
    two = await client.lease("heavy", limit=1000, visibility_seconds=600)
    assert len({message["seq"] for message in one + two}) == 24
    assert {message["tries"] for message in one + two} == {1}


async def test_a_job_that_fails_too_often_goes_to_the_dead_letter_queue(client: Client) -> None:
    options = {"max_tries": 2, "dead_letter": "graveyard", "visibility_seconds": 30}
    await client.do("PUT", "/v1/queues/risky/options", options)
    shown = await client.do("GET", "/v1/queues/risky/options")
    assert {key: shown[key] for key in options} == options
    await client.send("risky", "job", id="j1")
    for tries in (1, 2):
        (job,) = await client.lease("risky", wait=60)
        assert job["tries"] == tries
        nack = {"seqs": [job["seq"]], "delay_seconds": 0.2}
        await client.do("POST", "/v1/queues/risky/nacks", nack)
    (dead,) = await client.bodies("graveyard", ["job"])
    assert dead["headers"] == {
        "dead-letter-reason": "tries",
        "dead-letter-queue": "risky",
        "dead-letter-group": "@risky",
        "dead-letter-tries": "2",
        "dead-letter-count": "1",
    }
    assert await client.inbox("risky") == []


async def test_a_reader_returns_a_message(client: Client) -> None:
    await client.send("ned", "a")
    (message,) = await client.bodies("ned", ["a"])
    nack = {"seqs": [message["seq"]], "delay_seconds": 0.5}
    await client.do("POST", "/v1/queues/ned/nacks", nack)
    assert await client.inbox("ned") == []
    answer = await client.do("GET", f"/v1/queues/ned/messages?after={message['seq']}&wait=60")
    (again,) = answer["messages"]
    assert (again["body"], again["tries"]) == ("a", 1)


@pytest.mark.parametrize(
    ("overflow", "left"),
    [("drop_oldest", ["1", "2"]), ("drop_newest", ["0", "1"]), ("reject", ["0", "1"])],
)
async def test_a_queue_with_a_limit(client: Client, overflow: str, left: list[str]) -> None:
    queue, sender = f"limited-{overflow}", f"sender-{overflow}"
    options = {"max_length": 2, "overflow": overflow}
    await client.do("PUT", f"/v1/queues/{queue}/options", options)
    for number in range(3):
        await client.send(queue, str(number), sender=sender)
    await client.bodies(queue, left)
    if overflow == "reject":
        answer = await client.do("GET", f"/v1/queues/{sender}/messages?wait=60")
        assert [message["kind"] for message in answer["messages"]] == ["rejected"]
    else:
        assert await client.inbox(sender) == []


async def test_purge_delete_and_the_expiry_of_unused_queues(client: Client) -> None:
    await client.do("PUT", "/v1/groups/club/queues/del")
    await client.send("del", "a")
    await client.bodies("del", ["a"])
    await client.do("POST", "/v1/queues/del/purge")
    await client.bodies("del", [])
    await client.send("del", "b")
    await client.bodies("del", ["b"])
    erased = await client.do("DELETE", "/v1/queues/del?erase=true")
    assert erased["retained"]["hours"] == 168
    await client.bodies("del", [])
    deadline = time.monotonic() + 120
    while (await client.do("GET", "/v1/groups/club/queues"))["queues"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    # A queue that nobody uses
    await client.do("PUT", "/v1/queues/idle/options", {"ttl_seconds": 5})
    await client.send("idle", "x")
    await client.bodies("idle", ["x"])
    await client.bodies("idle", [])
    assert (await client.do("GET", "/v1/queues/idle/options"))["ttl_seconds"] is None


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/queues/q/options", {"max_length": 0}),
        ("PUT", "/v1/queues/q/options", {"overflow": "explode"}),
        ("PUT", "/v1/queues/q/options", {"dead_letter": "q"}),
        ("PUT", "/v1/queues/q/options", {"colour": "red"}),
        ("POST", "/v1/queues/q/leases", {"limit": 0}),
        ("POST", "/v1/queues/q/leases", {"visibility_seconds": "long"}),
        ("POST", "/v1/queues/q/leases?wait=x", {}),
        ("POST", "/v1/queues/q/nacks", {}),
        ("POST", "/v1/queues/q/nacks", {"seqs": [1], "outcome": "shrug"}),
        ("POST", "/v1/queues/q/nacks", {"seqs": [1], "outcome": "extend"}),
        ("PUT", "/v1/queues/q/sessions/s", {"ttl_seconds": 0}),
        ("POST", "/v1/queues/q/messages", {"body": "", "priority": 10}),
        ("DELETE", "/v1/queues/q?erase=maybe", None),
    ],
)
async def test_invalid_requests_are_refused(
    client: Client, method: str, path: str, body: Any
) -> None:
    status, content = await client.ask(method, path, body)
    assert status == 400, content


async def test_the_history_of_a_group_is_read_and_replayed(client: Client) -> None:
    # Given messages of a group, one sent twice, one transient, among those of other groups
    began = time.time_ns() // 1_000_000
    for number in range(5):
        message = {"body": f"said {number}", "id": f"past-{number}"}
        await client.do("POST", "/v1/groups/past/messages", message)
        await client.do("POST", "/v1/groups/other/messages", {"body": "x"})
    await client.do("POST", "/v1/groups/past/messages", {"body": "said 4", "id": "past-4"})
    await client.do("POST", "/v1/groups/past/messages", {"body": "gone", "persistent": False})
    path = "/v1/groups/past/messages"
    # When the history is read in pages, then each continues where the one before ended
    said, start = [], 0
    while True:
        page = await client.do("GET", f"{path}?from={start}&limit=2")
        said += [(m["id"], m["body"]) for m in page["messages"]]
        assert all(start <= m["offset"] < page["next"] for m in page["messages"])
        start = page["next"]
        if page["end"]:
            break
    assert said[:5] == [(f"past-{number}", f"said {number}") for number in range(5)]
    assert len({ident for ident, _ in said}) == 5
    # And it can be read from a time on
    page = await client.do("GET", f"{path}?from=2020-01-01T00:00:00Z&limit=3")
    assert [m["body"] for m in page["messages"]] == ["said 0", "said 1", "said 2"]
    assert all(m["at"] >= began - 5000 for m in page["messages"])
    page = await client.do("GET", f"{path}?from=2199-01-01")
    assert page["messages"] == []
    assert page["end"]
    # And a waiting reader gets new messages
    waiting = asyncio.create_task(client.do("GET", f"{path}?from={start}&wait=60"))
    await asyncio.sleep(0.5)
    await client.do("POST", path, {"body": "new"})
    assert [m["body"] for m in (await waiting)["messages"]] == ["new"]
    # When a range is replayed into a queue, twice
    first, last = page_offsets = await _offsets(client, path)
    assert first < last, page_offsets
    for _ in range(2):
        span = {"queue": "late", "from": first, "to": last}
        answer = await client.do("POST", "/v1/groups/past/replays", span)
        assert answer["replayed"] >= 3
    # Then the queue gets it once
    found = await client.bodies("late", ["said 0", "said 1", "said 2", "said 3"])
    assert found[0]["headers"]["replay-id"] == "past-0"
    assert found[0]["headers"]["replay-group"] == "past"


async def _offsets(client: Client, path: str) -> tuple[int, int]:
    """Return the offsets of the first and of the fifth message."""
    page = await client.do("GET", f"{path}?limit=5")
    return page["messages"][0]["offset"], page["messages"][4]["offset"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/groups/g/messages?from=yesterday", None),
        ("GET", "/v1/groups/g/messages?from=-1", None),
        ("POST", "/v1/groups/g/replays", {}),
        ("POST", "/v1/groups/g/replays", {"queue": "q", "from": [1]}),
    ],
)
async def test_invalid_history_requests_are_refused(
    client: Client, method: str, path: str, body: Any
) -> None:
    status, content = await client.ask(method, path, body)
    assert status == 400, content
