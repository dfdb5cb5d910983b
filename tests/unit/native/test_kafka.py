"""Rows that the core hands to librdkafka; there is no broker, they stay in the producer's queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ctypes import c_int64
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from twins import Below, core, needs_core

from streams.engine.native_rows import NativeLayer, NativeRows
from streams.engine.row_queue import CoreQueue
from streams.native import kafka
from streams.native.kafka import SharedClient, make_shared

pytestmark = needs_core
CLIENT = {"log_level": 0}
ROOM = 100
"""Messages that the producer's queue holds."""
LIMIT = 2_000
"""Bytes of the largest message."""

Opened = tuple[Producer, SharedClient]


def open_client(**config: Any) -> tuple[Producer, SharedClient | None]:
    return make_shared(core(), config, lambda more: Producer({**CLIENT, **config, **more}))


@pytest.fixture
def client() -> Iterator[Opened]:
    config: Mapping[str, Any] = {
        "queue.buffering.max.messages": ROOM,
        "message.max.bytes": LIMIT,
    }
    producer, shared = open_client(**config)
    assert shared is not None
    yield producer, shared
    producer.purge()
    producer.flush(0)


def layer(count: int, **rows: bytes | None) -> NativeLayer:
    made = NativeRows(Below(), core())
    for number in range(count):
        made.put(b"b", b"%d" % number, b"v")
    for name, value in rows.items():
        if value is None:
            made.delete(b"b", name.encode())
        else:
            made.put(b"b", name.encode(), value)
    return made.freeze()


def test_all_rows_are_queued(client: Opened) -> None:
    producer, shared = client
    with shared.topic("t") as topic:
        assert CoreQueue(layer(50, empty=b"", gone=None), topic, 0).put()
    assert len(producer) == 52


def test_a_full_queue_takes_the_rest_later(client: Opened) -> None:
    # Given more rows than the queue has room for
    producer, shared = client
    rows = layer(2 * ROOM + 10)
    with shared.topic("t") as topic:
        queue = CoreQueue(rows, topic, 0)
        # When it is full and emptied again, Then it goes on with the next row
        for _ in range(2):
            assert not queue.put()
            assert not queue.put()
            assert len(producer) == ROOM
            producer.purge()
            producer.flush(0)
        assert queue.put()
        assert len(producer) == 10
        assert queue.put()
        assert len(producer) == 10


def test_no_rows(client: Opened) -> None:
    producer, shared = client
    with shared.topic("t") as topic:
        assert CoreQueue(layer(0), topic, 0).put()
    assert len(producer) == 0


def test_a_row_that_is_refused_is_named(client: Opened) -> None:
    _producer, shared = client
    rows = layer(3, a=bytes(LIMIT))
    following = c_int64()
    with shared.topic("t") as topic:
        assert rows.produce(topic, 0, following) == KafkaError.MSG_SIZE_TOO_LARGE
        assert following.value == 3
        with pytest.raises(KafkaException, match="too large"):
            CoreQueue(rows, topic, 0).put()


def test_each_client_has_its_own_handle(client: Opened) -> None:
    other, shared = open_client()
    assert shared is not None
    with shared.topic("t") as topic:
        assert CoreQueue(layer(5), topic, 0).put()
    assert (len(client[0]), len(other)) == (0, 5)
    other.purge()
    other.flush(0)


def test_a_client_that_cannot_be_made_is_no_other_s() -> None:
    with pytest.raises(KafkaException):
        open_client(nonsense="1")
    with pytest.raises(ZeroDivisionError):
        make_shared(core(), CLIENT, lambda more: (Producer({**CLIENT, **more}), 1 // 0))
    assert make_shared(core(), CLIENT, lambda _more: "no client") == ("no client", None)


def test_without_a_core_or_with_plugins_of_its_own_it_is_python_s() -> None:
    assert make_shared(None, CLIENT, dict) == ({}, None)
    assert make_shared(core(), {kafka.PLUGINS: "mine"}, dict) == ({}, None)


def test_where_librdkafka_cannot_be_used_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kafka, "_MAJOR", 3)
    kafka._librdkafka.cache_clear()
    try:
        for _ in range(2):
            assert make_shared(core(), CLIENT, dict) == ({}, None)
    finally:
        kafka._librdkafka.cache_clear()
    assert caplog.text.count("librdkafka has version 0x2") == 1
