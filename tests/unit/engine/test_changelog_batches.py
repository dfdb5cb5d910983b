"""How messages of changelogs become rows of databases, and how old those rows are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams.engine.changelog_reader import Batch, batches
from streams.engine.database import Database, Resources

TOPIC_ID = b"t" * 16
LONG_AGO = 1_000


class Message:
    """What a consumer returns: a row, the end of a partition, or an error."""

    def __init__(
        self,
        offset: int,
        key: bytes | None = None,
        value: bytes | None = None,
        partition: int = 0,
        error: KafkaError | None = None,
    ) -> None:
        self.content = (offset, key, value, partition, error)

    def topic(self) -> str:
        return "changelog"

    def partition(self) -> int:
        return self.content[3]

    def offset(self) -> int:
        return self.content[0]

    def key(self) -> bytes | None:
        return self.content[1]

    def value(self) -> bytes | None:
        return self.content[2]

    def timestamp(self) -> tuple[int, int]:
        return 2, LONG_AGO

    def error(self) -> KafkaError | None:
        return self.content[4]


def end(offset: int, partition: int = 0) -> Message:
    return Message(offset, partition=partition, error=KafkaError(KafkaError._PARTITION_EOF))


def one(*messages: Message) -> Batch:
    (batch,) = batches(messages).values()
    return batch


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "p.db", Resources(8 << 20, 8 << 20))
    yield opened
    opened.close()


def test_messages_are_sorted_by_partition_in_their_order() -> None:
    found = batches(
        [Message(3, b"a", b"1"), Message(8, b"b", b"2", 1), Message(4, b"a", None), end(10, 1)]
    )
    assert found == {
        ("changelog", 0): Batch(5, LONG_AGO, [(b"a", b"1"), (b"a", None)], at_end=False),
        ("changelog", 1): Batch(10, LONG_AGO, [(b"b", b"2")], at_end=True),
    }


def test_an_end_that_more_follows_is_no_end() -> None:
    assert not one(end(4), Message(4, b"a", b"1")).at_end


def test_an_error_that_the_client_retries_is_passed_over() -> None:
    passing = Message(0, error=KafkaError(KafkaError._TRANSPORT))
    assert batches([passing]) == {}
    fatal: Any = KafkaError(KafkaError._FENCED, "fenced", fatal=True)
    with pytest.raises(KafkaException):
        batches([Message(0, error=fatal)])


def test_rows_are_as_old_as_the_last_unless_nothing_follows(database: Database) -> None:
    # Given rows of long ago that others follow
    one(Message(0, b"a", b"1")).apply(database, TOPIC_ID)
    # Then tombstones after them may be gone
    assert (database.next_offset, database.written_at) == (1, LONG_AGO)

    # When the end of the changelog is reached, Then they are current
    began = int(time.time() * 1000)
    one(end(2)).apply(database, TOPIC_ID)
    assert database.next_offset == 2
    assert database.written_at >= began
    assert database.get(b"a") == b"1"


def test_the_offset_never_goes_back(database: Database) -> None:
    # Given a leader that does not know yet how far the log goes
    one(Message(6, b"a", b"1")).apply(database, TOPIC_ID)
    # When it reports an end before what was read
    one(end(3)).apply(database, TOPIC_ID)
    # Then nothing is read twice
    assert database.next_offset == 7
