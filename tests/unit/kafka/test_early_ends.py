"""A broker that has just become the leader reports an end before that of the log.

The client delivers the rest later: nobody may take that end for the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from confluent_kafka import Consumer, KafkaError

from streams.events.codec import encode
from streams.events.records import Message
from streams.folds.log_numbers import LogNumbers
from streams.gateway.reads import history
from streams.gateway.reads.history import Span
from streams.kafka import first_record
from streams.kafka.watermarks import is_end
from streams.operate.topic_log import TopicLog
from streams.settings import Settings


class Record:
    """What a consumer returns: a record, or an error."""

    def __init__(self, offset: int, error: KafkaError | None = None, value: bytes = b"v") -> None:
        self._offset, self._error, self._value = offset, error, value

    def topic(self) -> str:
        return "t"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> KafkaError | None:
        return self._error

    def key(self) -> bytes:
        return b"g"

    def value(self) -> bytes:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return 1, 1000

    def headers(self) -> None:
        return None


def end(offset: int) -> Record:
    return Record(offset, KafkaError(KafkaError._PARTITION_EOF))


class Client:
    """A consumer of a partition of four records, the first two of which a new leader knows."""

    def __init__(self, *messages: Record, high: int = 4) -> None:
        self.left: Iterator[Record] = iter(messages)
        self.high = high

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return 0, self.high

    def consume(self, *_: Any) -> list[Record]:
        found = next(self.left, None)
        return [] if found is None else [found]

    def poll(self, *_: Any) -> Record | None:
        return next(self.left, None)

    def assign(self, *_: Any) -> None: ...
    def unassign(self) -> None: ...
    def incremental_unassign(self, *_: Any) -> None: ...
    def close(self) -> None: ...


def read(client: Client, last: int) -> Span:
    """Read a history from offset 0 up to `last`."""
    span = Span(0, 0)
    whole = history.History(Settings.from_env({}), lambda: LogNumbers(1, 2))
    whole._go_through(cast(Consumer, client), b"g", span, last, 100)
    return span


def test_only_an_end_that_is_not_too_early_is_one() -> None:
    assert [is_end(cast(Any, end(offset)), 4) for offset in (3, 4, 5)] == [False, True, True]
    assert not is_end(cast(Any, Record(4)), 4)
    assert not is_end(cast(Any, Record(4, KafkaError(KafkaError._TRANSPORT))), 4)


def test_a_history_goes_on_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "READ_SECONDS", 3600.0)
    sent = [Record(n, value=encode(Message(f"m{n}", "g", "ann", body=b"x"))) for n in range(4)]
    span = read(Client(*sent[:2], end(2), *sent[2:]), 4)
    assert [message.id for _, _, message in span.messages] == ["m0", "m1", "m2", "m3"]
    assert (span.next, span.end) == (4, True)


def test_a_history_ends_where_only_control_records_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(history, "READ_SECONDS", 3600.0)
    sent = [Record(n, value=encode(Message(f"m{n}", "g", "ann"))) for n in range(2)]
    span = read(Client(*sent, end(5)), 5)
    assert (len(span.messages), span.next, span.end) == (2, 5, True)


def test_commands_read_on_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    log = object.__new__(TopicLog)
    log._brokers = "nowhere"
    client = Client(Record(0), Record(1), end(2), Record(2), end(4))
    monkeypatch.setattr(log, "_client", lambda: client)
    assert [message.offset() for message in log.read("t", {0: 0}, {0: 4})] == [0, 1, 2]


def test_the_first_record_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(end(0), Record(0, value=b"first"))
    monkeypatch.setattr(first_record, "open_reader", lambda *_: client)
    assert first_record.first_record({}, "t", 0, 30.0) == (b"g", b"first")
    # A partition of control records has none
    client = Client(end(4))
    monkeypatch.setattr(first_record, "open_reader", lambda *_: client)
    assert first_record.first_record({}, "t", 0, 30.0) is None
