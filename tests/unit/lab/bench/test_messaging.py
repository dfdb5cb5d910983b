"""How long messages take, with a way into no system at all."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import pytest

from streams.errors import StreamsError
from streams.lab.bench.http_client import BenchConnection
from streams.lab.bench.messaging import LatencyProbe, PacedPublisher

CONFIRM_SECONDS = 0.02
DELIVER_SECONDS = 0.05


class OpenConnection:
    def close(self) -> None:
        pass


class Instantly:
    """A way on which a message to group X is in queue X a fixed time after it was sent."""

    def __init__(self) -> None:
        self.inboxes: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self.arrived: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.acked: dict[str, int] = {}
        self.lose: set[str] = set()

    async def publish(self, name: str, group: str, body: bytes) -> None:
        await asyncio.sleep(CONFIRM_SECONDS)
        if group in self.lose:
            return
        loop = asyncio.get_running_loop()
        loop.call_later(DELIVER_SECONDS - CONFIRM_SECONDS, self._deliver, group, name)

    def _deliver(self, queue: str, name: str) -> None:
        self.inboxes[queue].append((len(self.inboxes[queue]) + 1, name))
        self.arrived[queue].set()

    async def connect(self, queue: str) -> BenchConnection:
        return cast("BenchConnection", OpenConnection())

    async def read(
        self, connection: BenchConnection, queue: str, after: int
    ) -> Sequence[tuple[int, str]]:
        while not (found := self.inboxes[queue][after:]):
            self.arrived[queue].clear()
            await self.arrived[queue].wait()
        return found

    async def ack(self, connection: BenchConnection, queue: str, upto: int) -> None:
        self.acked[queue] = upto

    def close(self) -> None:
        pass


async def test_latency_is_from_publish_to_confirmation_and_to_reader() -> None:
    way = Instantly()
    async with LatencyProbe(way) as talk:
        # Given two readers
        await talk.listen(["a", "b"])
        # When a message is published to each
        talk.publish("1", "a", b"")
        talk.publish("2", "b", b"")
        await talk.arrived(lambda: len(talk.arrivals) == 2)
        # Then the times are those of the way
        to_reader, to_confirmation = talk.samples()
    assert to_reader.name == "publish to reader p50"
    assert 50 <= to_reader.value < 60_000  # in milliseconds
    assert 20 <= to_confirmation.value < to_reader.value
    assert way.acked == {"a": 1, "b": 1}


async def test_only_messages_of_the_span_and_of_the_chosen_kind_count() -> None:
    async with LatencyProbe(Instantly()) as talk:
        await talk.listen(["a"])
        talk.publish("early", "a", b"")
        await talk.arrived(lambda: len(talk.arrivals) == 1)
        since = time.monotonic()
        talk.publish("late", "a", b"")
        talk.publish("other", "a", b"")
        await talk.arrived(lambda: len(talk.arrivals) == 3)
        assert [s.name for s in talk.samples(since=since, which=lambda m: m == "late")] == [
            "publish to reader p50",
            "publish to confirmation p50",
        ]
        assert talk.samples(since=time.monotonic()) == []
        assert talk.samples(until=talk.sent["early"]) == []


async def test_what_does_not_arrive_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.lab.bench.messaging.ARRIVE_SECONDS", 0.2)
    way = Instantly()
    way.lose = {"a"}
    async with LatencyProbe(way) as talk:
        talk.publish("1", "a", b"")
        with pytest.raises(StreamsError, match="did not arrive"):
            await talk.arrived(lambda: len(talk.arrivals) == 1)


async def test_a_publish_that_fails_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(name: str, group: str, body: bytes) -> None:
        raise ConnectionResetError("gone")

    way = Instantly()
    monkeypatch.setattr(way, "publish", refuse)
    async with LatencyProbe(way) as talk:
        talk.publish("1", "a", b"")
        await asyncio.sleep(0.01)
        with pytest.raises(ConnectionResetError, match="gone"):
            talk.check()


async def test_a_pace_is_even_and_goes_round_the_groups() -> None:
    async with LatencyProbe(Instantly()) as talk:
        await talk.listen(["a", "b"])
        pace = PacedPublisher(talk, ["a", "b"], rate=100)
        began = time.monotonic()
        pace.start()
        deadline = time.monotonic() + 120
        while len(talk.sent) < 10:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        await pace.stop()
        assert len(talk.sent) <= 100 * (time.monotonic() - began) + 1
        to_a, to_b = pace.to(lambda group: group == "a"), pace.to(lambda group: group == "b")
        in_a, in_b = sum(map(to_a, talk.sent)), sum(map(to_b, talk.sent))
        assert in_a + in_b == len(talk.sent)
        assert in_a - in_b in (0, 1)
        assert not pace.to(lambda group: True)("of somebody else")
