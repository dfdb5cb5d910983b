"""The namespace that an import fills: that it is empty, or one that the same import has begun."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from streams.engine.changelog import (
    MARKER,
    Unfinished,
    pack_marker,
    unfinished_marker,
    unpack_marker,
)
from streams.errors import StreamsError
from streams.fold import BUCKET_SEPARATOR
from streams.folds.row_keys import FOUNDATION
from streams.folds.tables import TABLES
from streams.kafka.topics import ensure_topics
from streams.operate.backup.changelog_rows import ChangelogRows, TopicRow
from streams.operate.backup.committed import CommittedReader, log_ends
from streams.operate.backup.placing import Row
from streams.operate.offline import check_no_workers, fence
from streams.operate.topic_log import as_bytes
from streams.settings import Settings
from streams.topics import product_topics

_FIRST_KEY: Final = FOUNDATION + BUCKET_SEPARATOR


class NotEmpty(StreamsError):
    """The namespace has something already, so nothing can be imported into it."""


class Target:
    """The topics of a namespace."""

    def __init__(self, settings: Settings, first_rows: Iterable[Row]) -> None:
        """Take the settings of the namespace, and the first rows of the import, which name it."""
        self._settings = settings
        self._first_rows = list(first_rows)
        self._changelogs = {table: settings.changelog(table) for table in TABLES}
        self._numbers = range(settings.partitions)

    def prepare(self) -> bool:
        """Create missing topics; check that the namespace is free.

        Returns:
            whether the same import was begun before, so that it goes on.

        Raises:
            NotEmpty: there is something else, or the import was finished.
            StreamsError: workers are running, or topics are not as the settings say.
            Unavailable: Kafka does not answer.
        """
        client = self._settings.librdkafka()
        ensure_topics(client, product_topics(self._settings))
        check_no_workers(self._settings, "import")
        self.check_sources()
        firsts = self._firsts()
        if not firsts:
            return False
        keys = {key for key, _ in firsts}
        values = {value for _, value in firsts}
        expected = {row[3] for row in self._first_rows}
        whole = len(TABLES) * self._settings.partitions
        if len(firsts) != whole or keys != {_FIRST_KEY} or values != expected:
            raise NotEmpty(
                f"the namespace {self._name} is not empty, or another import into it has begun: "
                "choose another STREAMS_NAMESPACE, or delete the topics of this one"
            )
        if self._is_finished():
            raise NotEmpty(f"this export was imported into the namespace {self._name} already")
        return True

    def begin(self, rows: ChangelogRows, *, again: bool) -> None:
        """Write the first rows, and mark all partitions as unfinished; then keep workers out.

        An import that goes on has its first rows already.  A second copy of them would have
        compaction remove the first one, so that another row came first.

        Raises:
            NotEmpty: a worker has been faster.
        """
        first = [] if again else self._first_rows
        rows.write(self._with_markers(first, unfinished_marker()))
        self.fence()

    def fence(self) -> None:
        """Make sure that no worker that was open before can write to the tables.

        Raises:
            NotEmpty: one has folded something.
        """
        fence(self._settings, self._numbers)
        self.check_sources()

    def finish(self, rows: ChangelogRows) -> None:
        """Mark all partitions as complete, in one transaction."""
        rows.write(self._with_markers([], pack_marker(0)))

    def of_topics(self, rows: Iterable[Row]) -> Iterator[TopicRow]:
        """Yield rows with the names of their topics."""
        topics = self._changelogs
        for table, partition, key, value in rows:
            yield topics[table], partition, key, value

    def check_sources(self) -> None:
        """Check that both event topics are empty.

        Raises:
            NotEmpty: they are not.
        """
        for topic in (self._settings.group_events, self._settings.queue_events):
            if any(log_ends(self._settings.librdkafka(), topic, self._numbers)):
                raise NotEmpty(
                    f"{topic} has records: an import needs an empty namespace; choose another"
                    " STREAMS_NAMESPACE, or delete the topics of this one"
                )

    @property
    def _name(self) -> str:
        return self._settings.namespace or "without a name"

    def _with_markers(self, rows: Iterable[Row], marker: bytes) -> Iterator[TopicRow]:
        yield from self.of_topics(rows)
        for topic in self._changelogs.values():
            for number in self._numbers:
                yield topic, number, MARKER, marker

    def _firsts(self) -> list[tuple[bytes | None, bytes | None]]:
        """Return the first record of each changelog partition that has one."""
        found: list[tuple[bytes | None, bytes | None]] = []
        for topic in self._changelogs.values():
            with CommittedReader(self._settings.librdkafka(), topic) as reader:
                found += reader.firsts(self._numbers).values()
        return found

    def _is_finished(self) -> bool:
        """Read one changelog partition: its last marker tells."""
        topic = next(iter(self._changelogs.values()))
        latest: bytes | None = None
        with CommittedReader(self._settings.librdkafka(), topic) as reader:
            low, end = reader.bounds(0)
            for batch in reader.read({0: low}, {0: end}):
                for message in batch[0]:
                    key, value = as_bytes(message.key()), as_bytes(message.value())
                    if key == MARKER:
                        latest = value
        try:
            unpack_marker(latest)
        except Unfinished:
            return False
        return True
