"""Keeps the databases of standby partitions up to date from their changelogs.

One thread and one consumer serve all of them.  They apply what the active owners commit,
so that a promoted standby has little left to read.
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

from confluent_kafka import TopicPartition

from streams.engine.changelog_reader import Batch, batches
from streams.engine.database import Database, Resources, open_or_rebuild
from streams.errors import Unavailable
from streams.kafka.clients import open_reader

logger = logging.getLogger(__name__)

Followed = tuple[str, int]
"""Changelog topic and partition number."""


class StandbyFollower:
    """See the module's docstring.  Its public methods are for the event loop, but for `close`."""

    BATCH = 5_000
    POLL_SECONDS = 0.2
    RETRY_SECONDS = 5.0

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
        """Partitions that cannot be followed yet: path, and when (monotonic) to retry."""
        self._thread: threading.Thread | None = None
        self._running = True
        self.rows = 0
        self.failure: BaseException | None = None

    def follow(self, followed: Followed, path: Path) -> None:
        """Start to update the database at `path` from a changelog; returns at once."""
        self._commands.append(lambda: self._follow(followed, path))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="standby", daemon=True)
            self._thread.start()

    async def release(self, followed: Followed) -> None:
        """Stop following a partition; returns when its database is closed."""
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
        """The next changelog offset of every partition that is followed."""
        return {followed: db.next_offset for followed, db in list(self._databases.items())}

    def close(self) -> None:
        """Stop the thread and close all databases; blocks."""
        self._running = False
        if self._thread is not None:
            self._thread.join(timeout=10.0)

    # Runs in the thread -------------------------------------------------------------

    def _run(self) -> None:
        consumer = self._consumer = open_reader(
            self._client,
            f"{self._group}-standby",
            {
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "queued.min.messages": 5_000,
                "queued.max.messages.kbytes": 8_192,
            },
        )
        try:
            while self._running or self._commands:
                while self._commands:
                    self._commands.popleft()()
                self._retry_waiting()
                self._read()
        except BaseException as exc:  # the engine reports it and ends the worker
            self.failure = exc
            logger.critical("the standby thread failed; the worker will exit", exc_info=exc)
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
            database = open_or_rebuild(
                path, self._resources, self._topic_id(followed[0]), self._tombstone_ms
            )
        except Exception as exc:  # a full disk, for example; follow the others all the same
            self._put_off(followed, path, exc)
            return
        self._databases[followed] = database
        self._consumer.incremental_assign([TopicPartition(*followed, database.next_offset)])

    def _put_off(self, followed: Followed, path: Path, exc: Exception) -> None:
        logger.warning("standby %s/%d: %s; retrying in %.0f s", *followed, exc, self.RETRY_SECONDS)
        self._waiting[followed] = (path, time.monotonic() + self.RETRY_SECONDS)

    def _retry_waiting(self) -> None:
        now = time.monotonic()
        for followed, (path, due) in list(self._waiting.items()):
            if now >= due:
                self._follow(followed, path)

    def _apply(self, followed: Followed, batch: Batch) -> None:
        database = self._databases.get(followed)
        if database is None:
            return
        try:
            batch.apply(database, self._topic_id(followed[0]))
        except Unavailable as exc:
            self._release(followed)
            self._put_off(followed, database.path, exc)
        else:
            self.rows += len(batch.rows)

    def _release(self, followed: Followed) -> None:
        self._waiting.pop(followed, None)
        database = self._databases.pop(followed, None)
        if database is not None:
            self._consumer.incremental_unassign([TopicPartition(*followed)])
            try:
                database.close_or_wipe()
            except Exception as exc:  # the changelog has what was not flushed
                logger.warning("standby %s: cannot close its database: %s", database.path, exc)

    def _read(self) -> None:
        first = self._consumer.poll(self.POLL_SECONDS)
        if first is None:
            return
        messages = [first, *self._consumer.consume(self.BATCH, 0)]
        for followed, batch in batches(messages).items():
            self._apply(followed, batch)
