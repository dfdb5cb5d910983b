"""Polls the progress of the workers, at low cost.

From `/v1/cluster` and the ends of topics it knows when everything that was sent has become a
readable row of the last table.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from streams.errors import StreamsError, Unavailable
from streams.folds.tables import MEMBERS, QUEUES
from streams.operate.stalls import PATH, report
from streams.operate.topic_log import TopicLog
from streams.settings import Settings
from streams.stall_timer import StallTimer

LOOK_SECONDS: Final = 0.02
"""Time between two polls: the precision of the times measured here."""
PATIENCE_SECONDS: Final = 60.0
"""A system without progress for this long counts as stuck."""
REQUEST_SECONDS: Final = 30.0

Ends = Mapping[int, int]
"""Offsets by partition: the end of the log, or the next one to fold."""


class StatusClient:
    """Sends requests to one worker over a connection that stays open."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url)
        self._connection: HTTPConnection | None = None

    def get(self, path: str) -> Any:
        """Return the JSON of an answer; raises OSError, HTTPException or Unavailable."""
        if self._connection is None:
            host, port = self._place.hostname, self._place.port
            self._connection = HTTPConnection(host or "", port, timeout=REQUEST_SECONDS)
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException):
            self.close()
            raise
        if answer.status != 200:
            raise Unavailable(f"{path} answered {answer.status}: {content[:200]!r}")
        return orjson.loads(content)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """The status of all workers at one time."""

    positions: Mapping[tuple[str, int], int]
    """Next source offset to fold, by table and partition."""
    checkpointed: Mapping[tuple[str, int], int]
    owners: Mapping[tuple[str, int], str]
    ready: bool
    outputs_queued: int
    """Outputs of folds that Kafka has not yet confirmed."""
    restored_rows: int

    def has_folded(self, table: str, ends: Ends) -> bool:
        """Return whether a table's partitions have folded their source up to `ends`."""
        return all(self.positions.get((table, p), 0) >= end for p, end in ends.items())

    @property
    def mark(self) -> Hashable:
        """A value that changes whenever anything moves."""
        return (
            tuple(sorted(self.positions.items())),
            tuple(sorted(self.checkpointed.items())),
            self.outputs_queued,
            self.restored_rows,
        )

    @property
    def is_checkpointed(self) -> bool:
        """Whether everything folded is in a checkpoint."""
        return all(self.checkpointed[key] >= at for key, at in self.positions.items())


class ProgressProbe:
    """The workers of one system and the topics that they fold; a context manager."""

    def __init__(self, settings: Settings, urls: Sequence[str]) -> None:
        self._settings = settings
        self._askers = {url: StatusClient(url) for url in urls}
        self._log = TopicLog(settings)

    def __enter__(self) -> ProgressProbe:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close all connections."""
        for asker in self._askers.values():
            asker.close()
        self._log.__exit__()

    def look(self) -> ClusterSnapshot:
        """Poll all workers once; a worker that does not answer owns nothing."""
        positions: dict[tuple[str, int], int] = {}
        checkpointed: dict[tuple[str, int], int] = {}
        owners: dict[tuple[str, int], str] = {}
        ready, queued, restored = True, 0, 0
        for url, asker in self._askers.items():
            try:
                status = asker.get("/v1/cluster")
            except (OSError, HTTPException, Unavailable):
                ready = False
                continue
            queued += status["outputs_queued"]
            for row in status["partitions"]:
                if "state" not in row:
                    continue
                key = row["table"], row["partition"]
                positions[key] = row["position"]
                checkpointed[key] = row["checkpointed"]
                owners[key] = url
                restored += row["restored_rows"]
                ready = ready and row["ready"]
        ready = ready and len(positions) == 2 * self._settings.partitions
        return ClusterSnapshot(positions, checkpointed, owners, ready, queued, restored)

    def ends(self, topic: str) -> dict[int, int]:
        """Return the present end of each partition of a topic."""
        return self._log.ends(topic)

    def until_readable(self, group_ends: Ends | None = None) -> float:
        """Wait until all group events up to `group_ends` are rows of the last table.

        That is: `members` has folded them, Kafka has confirmed the outputs, and `queues` has
        folded up to the end that queue-events had after that.

        Returns:
            The time on the monotonic clock.

        Raises:
            Unavailable: no progress for `PATIENCE_SECONDS`.
        """
        topic = self._settings.group_events
        wanted = self.ends(topic) if group_ends is None else group_ends
        self.until(lambda look: look.has_folded(MEMBERS, wanted) and not look.outputs_queued)
        queue_ends = self.ends(self._settings.queue_events)
        self.until(lambda look: look.has_folded(QUEUES, queue_ends))
        return time.monotonic()

    def until_folded(self, table: str, ends: Ends) -> float:
        """Wait until a table has folded its source up to `ends`; return when that was.

        Raises:
            Unavailable: no progress for `PATIENCE_SECONDS`.
        """
        self.until(lambda look: look.has_folded(table, ends))
        return time.monotonic()

    def until_quiet(self) -> None:
        """Wait until the system is idle and checkpointed; raises like `until`."""
        while True:
            before = self._both_ends()
            self.until_readable()
            self.until(lambda look: look.is_checkpointed)
            if self._both_ends() == before:
                return

    def until(self, condition: Any) -> ClusterSnapshot:
        """Poll until `condition`, a function of a `ClusterSnapshot`, holds.

        Raises:
            Unavailable: no progress for `PATIENCE_SECONDS`.
        """
        stall = StallTimer(PATIENCE_SECONDS)
        while True:
            look = self.look()
            if condition(look):
                return look
            if stall.is_stalled(look.mark):
                raise Unavailable(
                    f"no progress for {PATIENCE_SECONDS:g} s; see the workers' logs\n"
                    + self.explain()
                )
            time.sleep(LOOK_SECONDS)

    def explain(self) -> str:
        """Return what every worker and the topics are doing, for the error about a stall."""
        answers: dict[str, Any] = {}
        for url, asker in self._askers.items():
            try:
                answers[url] = asker.get(PATH)
            except (OSError, HTTPException, Unavailable) as error:
                answers[url] = str(error) or type(error).__name__
        settings = self._settings
        topics = settings.group_events, settings.queue_events
        try:
            return report(answers, {topic: self.ends(topic) for topic in topics})
        except StreamsError as error:
            return report(answers, str(error))

    def _both_ends(self) -> tuple[dict[int, int], dict[int, int]]:
        settings = self._settings
        return self.ends(settings.group_events), self.ends(settings.queue_events)
