"""Questions to Kafka about topics and offsets, beside the readers and producers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.errors import Unavailable
from streams.kafka.clients import open_reader
from streams.pauses import Pauses
from streams.repeats import REPEATING

logger = logging.getLogger(__name__)

RETRY_PAUSES = (0.2, 2.0)
"""First and longest pause, in seconds, between questions that Kafka did not answer."""


class Control:
    """Asks Kafka. Its methods block; they may be called from any thread."""

    def __init__(
        self, client: Mapping[str, Any], app_id: str, stopping: Callable[[], bool]
    ) -> None:
        """Connect; when `stopping` returns true, questions are no longer repeated."""
        self._consumer = open_reader(
            client, f"{app_id}-control", {"isolation.level": "read_committed"}
        )
        self._admin = AdminClient(dict(client))
        self._stopping = stopping
        self._lock = threading.Lock()

    def log_end(self, partition: tuple[str, int]) -> int:
        """Return the end of the committed part of a partition; waits until Kafka answers.

        Raises:
            Unavailable: the worker is stopping.
        """
        pauses = Pauses(*RETRY_PAUSES)
        while True:
            try:
                with self._lock:
                    _, high = self._consumer.get_watermark_offsets(
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
