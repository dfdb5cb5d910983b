"""Records in a framing that folds do not know: translated before they are folded.

A fold is pure, so whatever must be asked of another system to read a record is asked here, and
its answer must stay the same for ever: a replay asks again.  One answer may change: "not known
yet".  A record that is refused for that reason must not be found readable by a replay when
later records have had outputs already, so nothing after it is folded before a checkpoint has
made the refusal durable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from streams.engine.progress import Progress
from streams.engine.source import Chunk
from streams.errors import Unavailable
from streams.fold import BadRecord, NotKnownYet, Record
from streams.pauses import Pauses

PAUSES: Final = (0.2, 10.0)
"""First and longest pause, in seconds, between attempts while the other system is away."""


class Translator(Protocol):
    """Reads records that are framed in another way."""

    def concerns(self, value: bytes | None) -> bool:
        """Tell whether a record's value must be translated; cheap."""
        ...

    def translate(self, value: bytes) -> bytes:
        """Return the value as folds read it.  Blocks.

        Raises:
            NotKnownYet, BadRecord: it cannot be read; the text says why.
            Unavailable: the other system cannot be asked now.
        """
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a chunk: records to be folded, or one that is refused."""

    chunk: Chunk
    refusal: BadRecord | None = None

    @property
    def must_be_saved(self) -> bool:
        """Whether a checkpoint must follow before anything else is folded."""
        return isinstance(self.refusal, NotKnownYet)


def split(chunk: Chunk, translator: Translator) -> list[Part]:
    """Translate the records of a chunk.  Blocks.

    Raises:
        Unavailable
    """
    parts: list[Part] = []
    records: list[Record] = []
    begin = chunk.begin

    def close(end: int) -> None:
        if records or end == chunk.end:
            # A gap before later parts is no loss: their first records follow control records.
            first = records[0].offset if parts and records else begin
            parts.append(Part(replace(chunk, begin=first, end=end, records=list(records))))
            records.clear()

    for record in chunk.records:
        value = record.value
        if value is None or not translator.concerns(value):
            records.append(record)
            continue
        try:
            records.append(record._replace(value=translator.translate(value)))
        except BadRecord as refusal:
            close(record.offset)
            end = begin = record.offset + 1
            single = replace(chunk, begin=record.offset, end=end, records=[record])
            parts.append(Part(single, refusal))
    close(chunk.end)
    return parts


class Intake:
    """Translates the chunks of one partition, and waits while that is not possible."""

    def __init__(
        self,
        translator: Translator | None,
        progress: Progress,
        blocking: Callable[[Callable[[], list[Part]]], Awaitable[list[Part]]],
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        """Prepare; `pause` waits for some seconds, or less if the partition has to do something."""
        self._translator = translator
        self._progress = progress
        self._blocking = blocking
        self._pause = pause
        self._pauses = Pauses(*PAUSES)
        self._retry_at = 0.0

    async def parts(self, chunk: Chunk) -> list[Part]:
        """Return the parts of a chunk; nothing if it must be tried again later."""
        translator = self._translator
        if translator is None or not any(translator.concerns(r.value) for r in chunk.records):
            self._progress.waits = None
            return [Part(chunk)]
        now = asyncio.get_running_loop().time()
        if now < self._retry_at:
            await self._pause(self._retry_at - now)
            return []
        try:
            found = await self._blocking(lambda: split(chunk, translator))
        except Unavailable as exc:
            self._progress.waits = str(exc)
            self._retry_at = now + self._pauses.next()
            return []
        self._progress.waits = None
        self._pauses.reset()
        return found
