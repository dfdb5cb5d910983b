"""Which records of another site's `group-events` cross, and as what.

A copy has the Kafka header `streams-site`.  A record that has it does not cross again, so every
message crosses each line once, from the site where it was published: sites cannot form a loop.

Pure: knows no Kafka client.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from streams.bridge.ports import Translator
from streams.events.checks import check_message
from streams.events.codec import encode_message, read
from streams.fold import BadRecord, Record
from streams.ids import DIRECT
from streams.kafka.partitioner import partition_of
from streams.repeats import REPEATING
from streams.security.patterns import Patterns

logger = logging.getLogger("streams.bridge")

SITE_HEADER: Final = "streams-site"
"""Kafka header of a copy: the site that it was published at, partition and offset."""
_DIRECT: Final = DIRECT.encode()


@dataclass(frozen=True, slots=True)
class Copy:
    """A record as it is appended at this site."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Crossing:
    """Decides about the records of one site."""

    def __init__(
        self,
        site: str,
        partitions: int,
        groups: Patterns,
        translator: Translator | None = None,
    ) -> None:
        """Prepare.

        Args:
            site: name of the other site.
            partitions: number of partitions that the other site has.
            groups: patterns of the groups whose messages cross.
            translator: reads records in the framing of the other site's schema registry.
        """
        self._site = site
        self._partitions = partitions
        self._groups = groups
        self._translator = translator

    def copy(self, record: Record, headers: Mapping[str, bytes | None]) -> Copy | None:
        """Return what to append at this site; None if the record does not cross.

        What the other site's folds refuse does not cross.  A record that this program cannot
        read crosses as it is: the other site may have a newer version.  If this site's workers
        cannot read it either, it is a dead letter here, where it is seen.

        Raises:
            Unavailable: the schema registry does not answer.
        """
        key = record.key
        if SITE_HEADER in headers or not key or key.startswith(_DIRECT):
            return None
        if partition_of(key, self._partitions) != record.partition:
            return None
        try:
            if not self._groups.match(key.decode()):
                return None
        except UnicodeDecodeError:
            return None
        value = record.value
        if value is None:
            return None
        if value[:1] == b"\0":
            framed = self._translated(record, value)
            if framed is None:
                return None
            value = framed
        try:
            name, fields = read(value)
        except BadRecord:
            return self._made(record, key, value)
        if name != "Message" or fields["origin"] is not None or fields["group"].encode() != key:
            return None
        try:
            check_message(fields)
        except BadRecord:
            return None
        return self._made(record, key, encode_message(fields))

    def _translated(self, record: Record, value: bytes) -> bytes | None:
        """Return a record that is framed for a schema registry as folds read it.

        Its schema id means nothing at this site, or something else, so it never crosses unread.
        """
        reason: object = "no STREAMS_SCHEMA_REGISTRY_URL in the settings of the site"
        if self._translator is not None:
            try:
                return self._translator.translate(value)
            except BadRecord as error:
                reason = error
        logger.warning(
            "record %d@%d of site %s, framed for a schema registry, does not cross: %s",
            *(record.partition, record.offset, self._site, reason),
            extra=REPEATING,
        )
        return None

    def _made(self, record: Record, key: bytes, value: bytes) -> Copy:
        place = f"{self._site}/{record.partition}/{record.offset}".encode()
        return Copy(key, value, (("type", b"Message"), (SITE_HEADER, place)))
