"""Copies the messages of one other site into this one, for as long as it runs.

A batch of records is read from the other site.  What crosses is appended here together with the
new places, in one transaction.  After any failure everything is opened anew, and the places tell
what was committed; so it makes no difference where a bridge was interrupted, or killed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Message

from streams.bridge.beginning import beginnings
from streams.bridge.crossing import Copy, Crossing
from streams.bridge.places import kept_places, place_row, places_topic
from streams.bridge.remote_log import RemoteLog
from streams.bridge.writer import Writer
from streams.errors import StreamsError, Unavailable
from streams.fold import Record
from streams.folds.log_numbers import log_number
from streams.kafka.topics import check_topics, ensure_topics, topic_ids
from streams.pauses import Pauses
from streams.repeats import REPEATING
from streams.schema_registry.translating import translator
from streams.security.patterns import Patterns
from streams.settings import Settings
from streams.topics import event_topics

logger = logging.getLogger("streams.bridge")

BATCH_RECORDS: Final = 2_000
"""Most records of one transaction."""
IDLE_PLACES_SECONDS: Final = 5.0
"""How often places are kept while no message crosses."""
REPORT_SECONDS: Final = 60.0
_PAUSES: Final = (0.5, 10.0)


@dataclass(frozen=True, slots=True)
class Link:
    """What one bridge joins."""

    here: Settings
    """Settings of this site, which receives."""
    there: Settings
    """Settings of the other site."""
    site: str
    """Name of the other site, for people; not an identity."""
    groups: tuple[str, ...] = ("*",)
    """Patterns of the groups whose messages cross."""
    beginning: str | None = None
    """See `beginning.beginnings`."""


class Bridge:
    """A bridge from one other site."""

    def __init__(self, link: Link, stopped: Callable[[], bool] = lambda: False) -> None:
        """Prepare; `stopped` is asked about twice a second, and ends the bridge when true."""
        self._link = link
        self._stopped = stopped
        self.crossed = 0
        """Messages that this object has committed."""
        self.lag = 0
        """Records of the other site that were not looked at, when last seen."""
        self.joined = False
        """Whether it knows its place in every partition, and copies."""
        self._reported = (time.monotonic(), 0)

    def run(self) -> None:
        """Copy until stopped.  Blocks.

        While Kafka of either site is away, it is tried again with growing pauses.

        Raises:
            NoPlace: see `beginning`.
            TakenOver: another bridge copies the same log to this site.
            StreamsError: the sites do not fit; the message says why.
        """
        pauses = Pauses(*_PAUSES)
        while not self._stopped():
            try:
                self._run_once(pauses)
            except Unavailable as error:
                self.joined = False
                if self._stopped():
                    return
                logger.warning("waiting: %s", error, extra=REPEATING)
                self._sleep(pauses.next())

    def _run_once(self, pauses: Pauses) -> None:
        """Open everything, and copy until stopped or until something fails."""
        link = self._link
        here = link.here.librdkafka()
        source, target = link.there.group_events, link.here.group_events
        check_topics(here, event_topics(link.here))
        places = places_topic(link.here.bridge_places, link.here.replication)
        ensure_topics(here, [places])
        with closing(RemoteLog(link.there, link.site)) as remote:
            log = remote.number()
            if log == log_number(topic_ids(here, [target])[target]):
                raise StreamsError(
                    f"site {link.site} is this site: its brokers have the same topic {source}"
                )
            writer = Writer(
                here,
                f"{link.here.app_id}-bridge-{log}",
                target,
                link.here.partitions,
                places.name,
                self._stopped,
            )
            with closing(writer):
                writer.open()
                kept = kept_places(here, places.name, log)
                bounds = remote.bounds()
                begin = beginnings(link.site, kept, bounds, link.beginning)
                keeper = _Keeper(writer, log, link.site, kept)
                keeper.write([], begin)
                pauses.reset()
                remote.start(begin)
                self.joined = True
                logger.info(
                    "joined to site %s: messages of %s cross", link.site, " ".join(link.groups)
                )
                crossing = Crossing(
                    link.site,
                    len(bounds),
                    Patterns(link.groups),
                    translator(link.there.schema_registry_url),
                )
                self._copy(remote, keeper, crossing)

    def _copy(self, remote: RemoteLog, keeper: _Keeper, crossing: Crossing) -> None:
        while not self._stopped():
            records = remote.batch(BATCH_RECORDS)
            copies = [copy for one in records if (copy := _copied(crossing, one)) is not None]
            keeper.write(copies, remote.next_offsets)
            self.crossed += len(copies)
            self.lag = remote.lag()
            self._report()

    def _report(self) -> None:
        at, crossed = self._reported
        now = time.monotonic()
        if now - at >= REPORT_SECONDS and self.crossed > crossed:
            logger.info(
                "%d messages of site %s crossed in %.0f s; %d records behind",
                self.crossed - crossed,
                self._link.site,
                now - at,
                self.lag,
            )
            self._reported = now, self.crossed

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopped() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))


class _Keeper:
    """Writes copies, with the places that have changed."""

    def __init__(self, writer: Writer, log: int, site: str, kept: Mapping[int, int]) -> None:
        self._writer = writer
        self._log = log
        self._site = site
        self._kept = dict(kept)
        self._at = float("-inf")

    def write(self, copies: list[Copy], places: Mapping[int, int]) -> None:
        """Append the copies and the changed places; without copies, not more often than needed."""
        changed = {p: offset for p, offset in places.items() if self._kept.get(p) != offset}
        now = time.monotonic()
        if not changed or (not copies and now - self._at < IDLE_PLACES_SECONDS):
            return
        rows = [place_row(self._log, p, self._site, offset) for p, offset in changed.items()]
        self._writer.write(copies, rows)
        self._kept.update(changed)
        self._at = now


def _copied(crossing: Crossing, message: Message) -> Copy | None:
    partition, offset, key = message.partition(), message.offset(), message.key()
    assert partition is not None
    assert offset is not None
    headers = {name: _bytes(value) for name, value in dict(message.headers() or []).items()}
    key, value = _bytes(key), _bytes(message.value())
    return crossing.copy(Record(partition, offset, message.timestamp()[1], key, value), headers)


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
