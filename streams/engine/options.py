"""Options of an app on the engine: Kafka, the folder of its tables, and limits."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streams.errors import SettingsError
from streams.kafka.defaults import ClientConfig, client_config
from streams.kafka.topics import Topic
from streams.native import MODES

if TYPE_CHECKING:
    from faust.types.auth import CredentialsT

MIB = 1 << 20

_APP_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
_AT_LEAST: Final = {
    "partitions": 1,
    "replication": 1,
    "standbys": 0,
    "checkpoint_rows": 1,
    "chunk_records": 1,
    "chunk_bytes": 1,
    "cache_bytes": 0,
    "write_buffer_bytes": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options of one worker.

    All workers of an app must agree on `app_id`, `partitions`, `replication` and the names of
    the topics; the rest may differ.

    Raises:
        SettingsError: a value is out of range.
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

    checkpoint_seconds: float = 5.0
    """Longest time between two checkpoints of a partition.

    One second is enough when much has changed, or nothing changes any more."""
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

    native: str = "auto"
    """Whether the native core holds the rows: ``auto`` (if it is installed), ``on`` or ``off``."""

    def __post_init__(self) -> None:
        """Check the values."""
        if self.native not in MODES:
            raise SettingsError(f"native is {self.native!r}: use {', '.join(MODES)}")
        if not _APP_ID.fullmatch(self.app_id):
            raise SettingsError(
                f"app_id is {self.app_id!r}: use 1 to 200 letters, digits, dots, underscores "
                "and hyphens"
            )
        if not all(broker.strip() for broker in self.brokers.split(",")):
            raise SettingsError(f"brokers is {self.brokers!r}: list them as host:port,host:port")
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value < least:
                raise SettingsError(f"{name} is {value}: it must be at least {least}")
        for name in ("session_timeout_seconds", "checkpoint_seconds"):
            value = getattr(self, name)
            if not value > 0:
                raise SettingsError(f"{name} is {value}: it must be positive")

    @property
    def client(self) -> ClientConfig:
        """Configuration of every librdkafka client of this worker."""
        # `metadata.recovery.strategy=none` would save half of the processor time of a worker whose
        # brokers are away. But after the whole machine was suspended for 20 s, readers fetched
        # nothing for a minute and producers sent nothing (librdkafka 2.16).
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
        name = socket.gethostname().encode() + b" " + os.fsencode(self.data.absolute())
        return f"{self.app_id}-{hashlib.sha256(name).hexdigest()[:20]}"

    def changelog(self, table: str) -> str:
        """Name of a table's changelog topic, by Faust's rule."""
        return f"{self.app_id}-{table}-changelog"
