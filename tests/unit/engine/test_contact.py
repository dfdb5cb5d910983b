"""Whether Kafka answers: one line when it stops, one when it answers again."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest
from aiokafka.client import AIOKafkaClient

from streams.engine import transport
from streams.engine.contact import AWAY_SECONDS, BACK_OFF, Contact
from streams.engine.transport import slow_down


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_kafka_is_away_after_failures_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    contact = Contact(clock)

    contact.failed("refused")
    clock.now += AWAY_SECONDS / 2
    contact.failed("refused")
    early = contact.away
    assert not early
    assert contact.pause(0.1) == 0.1
    clock.now += AWAY_SECONDS
    for _ in range(1000):
        contact.failed("refused")
    late = contact.away
    assert late
    assert contact.pause(0.1) == 0.1 * BACK_OFF
    clock.now += 27
    contact.answered()
    contact.answered()

    assert not contact.away
    assert [record.getMessage() for record in caplog.records] == [
        "Kafka has not answered for 3 s, trying again until it does: refused",
        "Kafka answers again, after 30 s",
    ]


def test_a_short_failure_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    contact = Contact(Clock())

    contact.failed("not the coordinator")
    contact.answered()

    assert not caplog.records


async def test_a_client_that_cannot_connect_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "CONNECT_PAUSES", (0.05, 0.2))
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    slow_down(client)
    tries = 0

    async def try_for_ever() -> None:
        nonlocal tries
        while True:
            assert not await client.ready(1)  # no such broker
            tries += 1

    began = time.monotonic()
    trying = asyncio.create_task(try_for_ever())
    deadline = time.monotonic() + 120
    while tries < 5 and not trying.done():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    took = time.monotonic() - began
    trying.cancel()

    assert tries == 5
    assert took >= 0.5  # without the pauses, five tries take a millisecond
