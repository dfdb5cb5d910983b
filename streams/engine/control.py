"""Questions to Kafka about topics and offsets, beside the readers and producers."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from streams.engine.holds import Ends
from streams.errors import Unavailable
from streams.kafka.clients import open_admin, open_reader
from streams.pauses import Pauses
from streams.repeats import REPEATING

logger = logging.getLogger(__name__)

RETRY_PAUSES = (0.2, 2.0)
"""First and longest pause, in seconds, between questions that Kafka did not answer."""

_STALE: Final = {KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH}
"""The client knows an earlier leader of the partition than Kafka, or a later one."""

ASK_SECONDS: Final = 5.0
"""How long Kafka may take to answer a question that is asked once."""
RENEW_SECONDS: Final = 10.0
"""For how long ends may be missing until they are asked for by a new client."""


class Control:
    """Asks Kafka. Its methods block; they may be called from any thread."""

    def __init__(
        self, client: Mapping[str, Any], app_id: str, stopping: Callable[[], bool]
    ) -> None:
        """Connect; when `stopping` returns true, questions are no longer repeated."""
        self._consumer = open_reader(
            client, f"{app_id}-control", {"isolation.level": "read_committed"}
        )
        self._reader = open_reader(
            client, f"{app_id}-control", {"isolation.level": "read_uncommitted"}
        )
        self._client = client
        self._admin = open_admin(client)
        self._missing_since: float | None = None
        self._stopping = stopping
        self._lock = threading.Lock()

    def log_end(self, partition: tuple[str, int], committed: bool) -> int:
        """Return the end of a partition, or of its committed part; waits until Kafka answers.

        Raises:
            Unavailable: the worker is stopping.
        """
        pauses = Pauses(*RETRY_PAUSES)
        consumer = self._consumer if committed else self._reader
        while True:
            try:
                with self._lock:
                    _, high = consumer.get_watermark_offsets(
                        TopicPartition(*partition), timeout=5.0
                    )
                return int(high)
            except KafkaException as exc:
                text = exc.args[0].str()
                if self._stopping():
                    raise Unavailable(
                        "the worker is stopping and Kafka does not tell the end of "
                        f"{partition[0]}/{partition[1]}: {text}"
                    ) from exc
                logger.info(
                    "cannot ask for the end of %s/%d, retrying: %s",
                    *partition,
                    text,
                    extra=REPEATING,
                )
                time.sleep(pauses.next())

    def log_start(self, partition: tuple[str, int]) -> int:
        """Return the first offset that a partition still has.

        Raises:
            Unavailable: Kafka does not answer.
        """
        try:
            with self._lock:
                low, _ = self._reader.get_watermark_offsets(
                    TopicPartition(*partition), timeout=ASK_SECONDS
                )
        except KafkaException as exc:
            text = exc.args[0].str()
            raise Unavailable(
                f"Kafka does not tell the start of {partition[0]}/{partition[1]}: {text}"
            ) from exc
        return int(low)

    def ends(
        self, partitions: Collection[tuple[str, int]]
    ) -> tuple[dict[tuple[str, int], Ends], dict[tuple[str, int], str]]:
        """Ask once for the ends of partitions.

        A partition whose leaders have changed is in neither answer: it is the client that does
        not know the present one, and it learns of it here.  After a machine was suspended,
        librdkafka would not ask by itself, or go on finding no leaders for minutes although
        Kafka tells others who they are: so whenever an end is missing, all leaders are asked for.
        That does not always help, and readiness hangs on it: if ends are missing for longer, a new
        client takes over.

        Returns:
            the ends that Kafka has told, and for the other partitions why it has not.
        """
        failures: dict[tuple[str, int], str] = {}
        stale = False
        if not partitions:
            return {}, failures

        latest: Any = OffsetSpec.latest

        def asked(isolation: IsolationLevel) -> dict[tuple[str, int], int]:
            nonlocal stale
            found = {}
            answers = self._admin.list_offsets(
                {TopicPartition(*partition): latest() for partition in partitions},
                isolation_level=isolation,
                request_timeout=ASK_SECONDS,
            )
            for asked_for, answer in answers.items():
                partition = (asked_for.topic, asked_for.partition)
                try:
                    offset = int(answer.result().offset)
                except KafkaException as exc:
                    if exc.args[0].code() in _STALE:
                        stale = True
                    else:
                        failures[partition] = exc.args[0].str()
                    continue
                if offset >= 0:
                    found[partition] = offset
                else:  # librdkafka has no error for a leader that has not answered in time
                    failures[partition] = "its leader does not answer"
            return found

        # In this order: a partition that moves on meanwhile must not look as if it stood.
        high = asked(IsolationLevel.READ_UNCOMMITTED)
        stable = asked(IsolationLevel.READ_COMMITTED)
        ends = {p: Ends(high[p], stable[p]) for p in high.keys() & stable.keys()}
        if stale or failures:
            with contextlib.suppress(KafkaException):
                self._admin.list_topics(timeout=ASK_SECONDS)
        self._renew(bool(failures))
        return ends, failures

    def _renew(self, missing: bool) -> None:
        """Replace the client that asks for ends, if it has missed some for too long."""
        now = time.monotonic()
        if not missing:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        elif now - self._missing_since >= RENEW_SECONDS:
            self._admin = open_admin(self._client)
            self._missing_since = now

    def written_at(self, partition: tuple[str, int], offset: int) -> float | None:
        """Return when a record was appended, in seconds since the epoch; None if unknown."""
        with self._lock:
            self._reader.assign([TopicPartition(*partition, offset)])
            try:
                record = self._reader.poll(ASK_SECONDS)
                if record is None or record.error() or record.offset() != offset:
                    return None
                return float(record.timestamp()[1]) / 1000
            finally:
                self._reader.unassign()

    def writable(self, topics: set[str], replication: int) -> bool:
        """Return whether every partition of these topics, and of Kafka's own, accepts writes."""
        enough = max(1, replication - 1)
        try:
            known = self._admin.list_topics(timeout=5.0).topics
        except KafkaException:
            return False
        return topics <= known.keys() and all(
            partition.leader >= 0 and len(partition.isrs) >= (enough if name in topics else 1)
            for name, topic in known.items()
            if name in topics or name.startswith("__")
            for partition in topic.partitions.values()
        )

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()
        self._reader.close()
