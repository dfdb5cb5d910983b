"""Options of an app on the engine: Kafka, where tables are kept, and how much may be kept."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from streams.kafka.defaults import ClientConfig, client_config
from streams.kafka.topics import Topic

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options of one worker.

    All workers of an app must agree on `app_id`, `partitions`, `replication` and the names of
    the topics; the rest may differ.
    """

    app_id: str
    """Id of the app: its consumer group, and the prefix of its changelog topics.

    Two apps on one Kafka need two ids.
    """

    brokers: str = "127.0.0.1:9092"
    """Bootstrap brokers, ``host:port,...``."""
    kafka: Mapping[str, str | int | float | bool] = field(default_factory=dict, repr=False)
    """More configuration of librdkafka clients, such as credentials."""
    credentials: CredentialsT | None = field(default=None, repr=False)
    """The same credentials for Faust's own client (its setting `broker_credentials`)."""
    instance_id: str = ""
    """Name of this worker in the consumer group, the same after a restart (static membership).

    By default it is derived from the host and the data folder.
    """
    session_timeout_seconds: float = 10.0
    """How long Kafka waits for a heartbeat before it gives a worker's partitions to others."""

    data: Path = Path(".streams")
    """Folder of this worker's tables; no two running workers may share one."""
    partitions: int = 8
    """Partitions of every source topic and table; fixed once they exist."""
    replication: int = 1
    """Replicas of each topic partition."""
    standbys: int = 0
    """Standby replicas of each table partition on other workers."""

    create_topics: bool = True
    """Create missing topics at start. When false, the worker refuses to start without them."""
    topics: tuple[Topic, ...] = ()
    """Topics as the app wants them.

    An entry replaces what the engine would derive for a topic of that name. Topics that folds
    write to belong here too, since the engine cannot know them.
    """
    dead_letters: str = ""
    """Topic of records that could not be folded; by default ``<app_id>-dead-letters``."""

    checkpoint_seconds: float = 1.0
    """Longest time between two checkpoints of a partition."""
    checkpoint_rows: int = 50_000
    """Changed rows that trigger a checkpoint earlier."""
    chunk_records: int = 2_000
    """Most records that are folded in one go."""
    chunk_bytes: int = MIB
    """Most bytes of records that are folded in one go."""
    cache_bytes: int = 256 * MIB
    """Block cache of all tables of the worker together."""
    write_buffer_bytes: int = 128 * MIB
    """Write buffers of all tables of the worker together."""

    @property
    def client(self) -> ClientConfig:
        """What every librdkafka client of this worker is configured with."""
        return {**client_config(self.brokers), **self.kafka}

    @property
    def dead_letter_topic(self) -> str:
        """Name of the topic of dead letters."""
        return self.dead_letters or f"{self.app_id}-dead-letters"

    @property
    def member_id(self) -> str:
        """`instance_id`, or its default."""
        if self.instance_id:
            return self.instance_id
        name = f"{socket.gethostname()} {self.data.absolute()}"
        return f"{self.app_id}-{hashlib.sha256(name.encode()).hexdigest()[:20]}"

    def changelog(self, table: str) -> str:
        """Name of a table's changelog topic, by Faust's rule."""
        return f"{self.app_id}-{table}-changelog"
