"""Follows the log while the demo plays, and feeds the model from it.

The demo knows what it sent and what was confirmed.  Only the log has the order, and tells
whether an unanswered request was written after all.  So the model is fed from the log, and every
confirmed event must be in the log, at its offset and with its content.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from streams.errors import StreamsError
from streams.events.codec import decode, read
from streams.events.records import Bind, Message, Unbind
from streams.fold import BadRecord, Record
from streams.lab.workload.model import Model
from streams.operate.topic_log import TopicLog, as_record
from streams.settings import Settings

CATCH_UP_SECONDS = 60.0

Digest = tuple[str, str, str]
"""The identity of an event: type, group, and queue or message id."""


class Journal:
    """Feeds a model from `group-events`, and compares confirmations with the log."""

    def __init__(self, settings: Settings, model: Model, tag: str) -> None:
        """Create a journal of the groups whose ids begin with `tag`; `start` starts it."""
        self.lock = threading.Lock()
        """Held while the model changes."""
        self.deliveries = 0
        """Deliveries sent by the fold `route`, counted in `queue-events`."""
        self.wrong: list[str] = []
        """Confirmations that the log contradicts."""
        self._settings = settings
        self._model = model
        self._tag = tag
        self._positions: dict[int, int] = {}
        self._confirmed: dict[tuple[int, int], Digest] = {}
        self._read: dict[tuple[int, int], Digest] = {}
        self._stopping = threading.Event()
        self._failure: StreamsError | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Follow both topics from their present ends, in threads."""
        with TopicLog(self._settings) as log:
            groups = log.ends(self._settings.group_events)
            queues = log.ends(self._settings.queue_events)
        self._positions = dict(groups)
        for follow, start in ((self._follow_groups, groups), (self._follow_queues, queues)):
            thread = threading.Thread(target=self._run, args=(follow, start), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)

    def confirmed(self, partition: int, offset: int, digest: Digest) -> None:
        """Record that Kafka confirmed an event at this position."""
        with self.lock:
            self._match((partition, offset), digest, self._confirmed, self._read)

    def take(self, record: Record) -> None:
        """Process the next record of a partition of `group-events`."""
        try:
            event = decode(record.value)
        except BadRecord:
            event = None  # a dead letter for the workers: ignored here too
        if isinstance(event, Bind | Unbind | Message) and event.group.startswith(self._tag):
            place = (record.partition, record.offset)
            with self.lock:
                self._model.apply(*place, record.timestamp, event)
                self._match(place, digest(event), self._read, self._confirmed)
        self._positions[record.partition] = record.offset + 1

    def reach(self, ends: Mapping[int, int]) -> None:
        """Wait until the model has every event before `ends`.

        Raises:
            StreamsError: the log could not be read that far.
        """
        deadline = time.monotonic() + CATCH_UP_SECONDS
        while any(self._positions.get(number, 0) < end for number, end in ends.items()):
            if self._failure is not None:
                raise self._failure
            if time.monotonic() > deadline:
                raise StreamsError(
                    f"the log could not be read to its end within {CATCH_UP_SECONDS:g} s"
                )
            time.sleep(0.05)

    def contradictions(self) -> list[str]:
        """Return every confirmation that the log contradicts or lacks."""
        lost = [
            f"confirmed but not in the log: {' '.join(digest)} at {place[0]}@{place[1]}"
            for place, digest in self._confirmed.items()
        ]
        return self.wrong + lost

    def _match(
        self,
        place: tuple[int, int],
        digest: Digest,
        own: dict[tuple[int, int], Digest],
        other: dict[tuple[int, int], Digest],
    ) -> None:
        """Match a confirmation with the record in the log; forget matched pairs."""
        found = other.pop(place, None)
        if found is None:
            own[place] = digest
        elif found != digest:
            where = f"{place[0]}@{place[1]}"
            self.wrong.append(f"the log has {' '.join(found)} at {where}, not {' '.join(digest)}")

    def _run(self, follow: Callable[[Mapping[int, int]], None], start: Mapping[int, int]) -> None:
        try:
            follow(start)
        except StreamsError as error:
            self._failure = error

    def _follow_groups(self, start: Mapping[int, int]) -> None:
        with TopicLog(self._settings) as log:
            for message in log.follow(self._settings.group_events, start):
                if self._stopping.is_set():
                    return
                if message is None:
                    continue
                self.take(as_record(message))

    def _follow_queues(self, start: Mapping[int, int]) -> None:
        with TopicLog(self._settings) as log:
            for message in log.follow(self._settings.queue_events, start):
                if self._stopping.is_set():
                    return
                if message is None:
                    continue
                try:
                    name, values = read(as_record(message).value)
                except BadRecord:
                    continue
                if name == "Routed":
                    self.deliveries += sum(ids.count(0) for ids in values["delivery_queues"])


def digest(event: Bind | Unbind | Message) -> Digest:
    """Return the identity of an event."""
    what = event.id if isinstance(event, Message) else event.queue
    return type(event).__name__, event.group, what
