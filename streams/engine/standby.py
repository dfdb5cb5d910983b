"""Follows the changelogs of standby partitions into their databases.

One thread and one consumer for all of them.  What it writes is what an active owner
committed, so a standby that is promoted has little left to read.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.engine.database import Damaged, Database, Resources, UnknownFormat, wipe
from streams.errors import Unavailable
from streams.kafka.clients import logger as kafka_logger

logger = logging.getLogger(__name__)

Followed = tuple[str, int]
"""Changelog topic and partition."""


class StandbyFollower:
    """Keeps the databases of standby partitions up to date; used from the event loop."""

    BATCH = 5_000
    POLL_SECONDS = 0.2
    AGAIN_SECONDS = 5.0

    def __init__(
        self,
        client: Mapping[str, Any],
        group: str,
        resources: Resources,
        topic_id: Callable[[str], bytes],
        tombstone_ms: int,
    ) -> None:
        self._tombstone_ms = tombstone_ms
        self._client = client
        self._group = group
        self._resources = resources
        self._topic_id = topic_id
        self._commands: deque[Callable[[], None]] = deque()
        self._databases: dict[Followed, Database] = {}
        self._waiting: dict[Followed, tuple[Path, float]] = {}
        """Partitions that could not be followed: where, and when (monotonic) to try again."""
        self._thread: threading.Thread | None = None
        self._running = True
        self.rows = 0
        self.failure: BaseException | None = None

    def follow(self, followed: Followed, path: Path) -> None:
        """Begin to follow a partition into the database at `path`; returns at once."""
        self._commands.append(lambda: self._follow(followed, path))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="standby", daemon=True)
            self._thread.start()

    async def release(self, followed: Followed) -> None:
        """Stop following; returns once the database is closed."""
        if self._thread is None or not self._thread.is_alive():
            return
        loop = asyncio.get_running_loop()
        released: asyncio.Future[None] = loop.create_future()

        def command() -> None:
            self._release(followed)
            loop.call_soon_threadsafe(released.set_result, None)

        self._commands.append(command)
        await released

    @property
    def followed(self) -> dict[Followed, int]:
        """The partitions that are followed, with the next changelog offset of each."""
        return {followed: db.next_offset for followed, db in list(self._databases.items())}

    def close(self) -> None:
        """Stop the thread and close all databases; blocks."""
        self._running = False
        if self._thread is not None:
            self._thread.join(timeout=10.0)

    # Runs in the thread -------------------------------------------------------------

    def _run(self) -> None:
        consumer = self._consumer = Consumer(
            {
                **self._client,
                "group.id": f"{self._group}-standby",  # required by the client, never joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "queued.min.messages": 5_000,
                "queued.max.messages.kbytes": 8_192,
                "log.connection.close": False,
            },
            error_cb=lambda error: logger.info("standby: %s", error.str()),
            logger=kafka_logger,
        )
        try:
            while self._running or self._commands:
                while self._commands:
                    self._commands.popleft()()
                self._try_again()
                self._read()
        except BaseException as exc:  # reported, and the worker ends itself
            self.failure = exc
            logger.critical("standby follower failed", exc_info=exc)
        finally:
            for followed in list(self._databases):
                self._release(followed)
            while self._commands:
                self._commands.popleft()()
            consumer.close()

    def _follow(self, followed: Followed, path: Path) -> None:
        if followed in self._databases:
            return
        self._waiting.pop(followed, None)
        try:
            database = self._open(followed, path)
        except Exception as exc:  # no space, say: the others must be followed all the same
            self._put_off(followed, path, exc)
            return
        self._databases[followed] = database
        self._consumer.incremental_assign([TopicPartition(*followed, database.next_offset)])

    def _open(self, followed: Followed, path: Path) -> Database:
        topic_id = self._topic_id(followed[0])
        try:
            database = Database(path, self._resources)
        except (Damaged, UnknownFormat) as exc:
            logger.warning("standby: %s: rebuilding from the changelog", exc)
            wipe(path)
            database = Database(path, self._resources)
        # From behind the tombstones on, deleted rows would stay for ever.
        age = time.time() * 1000 - database.written_at
        known = database.topic_id == topic_id and age <= self._tombstone_ms
        if database.next_offset > 0 and not known:
            database.close()
            wipe(path)
            database = Database(path, self._resources)
        return database

    def _put_off(self, followed: Followed, path: Path, exc: Exception) -> None:
        logger.warning("standby %s/%d: %s; trying again", *followed, exc)
        self._waiting[followed] = (path, time.monotonic() + self.AGAIN_SECONDS)

    def _try_again(self) -> None:
        now = time.monotonic()
        for followed, (path, due) in list(self._waiting.items()):
            if now >= due:
                self._follow(followed, path)

    def _write(
        self,
        followed: Followed,
        rows: list[tuple[bytes, bytes | None]],
        end: int,
        written_at: int,
    ) -> None:
        database = self._databases.get(followed)
        if database is None:
            return
        try:
            database.write(rows, end, written_at, self._topic_id(followed[0]))
        except Unavailable as exc:
            path = database.path
            self._release(followed)
            if isinstance(exc, Damaged):
                wipe(path)
            self._put_off(followed, path, exc)
        else:
            self.rows += len(rows)

    def _release(self, followed: Followed) -> None:
        self._waiting.pop(followed, None)
        database = self._databases.pop(followed, None)
        if database is not None:
            self._consumer.incremental_unassign([TopicPartition(*followed)])
            try:
                database.close()
            except Exception as exc:  # what it could not flush is in the changelog
                logger.warning("standby %s: while closing: %s", database.path, exc)

    def _read(self) -> None:
        first = self._consumer.poll(self.POLL_SECONDS)
        if first is None:
            return
        batches: dict[Followed, list[tuple[bytes, bytes | None]]] = {}
        ends: dict[Followed, tuple[int, int]] = {}
        messages: list[Any] = [first, *self._consumer.consume(self.BATCH, 0)]
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    logger.info("standby: %s", error.str())
                continue
            followed = (message.topic(), message.partition())
            key = message.key()
            if key is not None:
                batches.setdefault(followed, []).append((key, message.value()))
            ends[followed] = message.offset() + 1, message.timestamp()[1]
        for followed, rows in batches.items():
            end, written_at = ends[followed]
            self._write(followed, rows, end, self._as_of(followed, end, written_at))

    def _as_of(self, followed: Followed, end: int, written_at: int) -> int:
        """Say of what time rows are that were read up to `end`: now, if nothing comes after."""
        now = int(time.time() * 1000)
        try:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*followed), cached=True)
        except KafkaException:
            high = end
        # One more is the commit of the last transaction.
        return now if end + 1 >= high else min(now, written_at)
