"""The threads that take delivery reports from producers, without a broker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from streams.engine import output
from streams.engine.output import DeliveryTracker, OutputProducer, Publisher
from streams.fold import Output

MOST_SECONDS = 120.0
POLLS = 5


class Producer:
    """A producer whose poll always has something, and reports all records sent before it."""

    def __init__(self) -> None:
        self.polls: list[float] = []
        self.enough = threading.Event()
        self._unreported: list[Callable[..., None]] = []

    def produce(self, *_: Any, on_delivery: Callable[..., None] | None = None, **__: Any) -> None:
        if on_delivery is not None:
            self._unreported.append(on_delivery)

    def poll(self, _timeout: float) -> int:
        self.polls.append(time.monotonic())
        if len(self.polls) >= POLLS:
            self.enough.set()
        time.sleep(0.0005)
        while self._unreported:
            self._unreported.pop()(None, None)
        return 1

    def flush(self, _timeout: float) -> int:
        return 0


@pytest.fixture
def producer(monkeypatch: pytest.MonkeyPatch) -> Producer:
    made = Producer()
    monkeypatch.setattr(output, "open_producer", lambda *_: made)
    return made


def test_reports_of_outputs_are_taken_together(producer: Producer) -> None:
    outputs = OutputProducer({})
    try:
        assert producer.enough.wait(MOST_SECONDS)
    finally:
        outputs.close(0.0)
    first = producer.polls[:POLLS]
    assert min(b - a for a, b in pairwise(first)) >= output.REPORT_PAUSE_SECONDS


def test_a_checkpoint_gets_its_reports_all_the_same(producer: Producer) -> None:
    async def settle(outputs: OutputProducer) -> int:
        tracker = DeliveryTracker(asyncio.get_running_loop())
        await outputs.send([Output("t", n % 2, b"k", b"v", "Bound") for n in range(10)], tracker)
        async with asyncio.timeout(MOST_SECONDS):
            await tracker.settled()
        return tracker.unsettled

    outputs = OutputProducer({})
    try:
        assert asyncio.run(settle(outputs)) == 0
    finally:
        outputs.close(0.0)


def test_clients_need_not_wait_for_a_pause(
    producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of published events never pauses: a pause would end the test's patience."""
    monkeypatch.setattr(output, "REPORT_PAUSE_SECONDS", 10 * MOST_SECONDS)
    publisher = Publisher({})
    try:
        assert producer.enough.wait(MOST_SECONDS)
    finally:
        publisher.close(0.0)
