"""Reads Bind, Unbind and Message in the framing of a schema registry.

Such a record begins with a zero byte and the id of its schema in 4 bytes, big-endian; Avro
follows.  It is written again as the workers' own records are, before it is folded.  Ids never
change their meaning, so a replay reads the same.  Source of the framing: Confluent's "wire
format" of serializers.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any, Final, Protocol

from streams.events.codec import Foreign, foreign
from streams.fold import BadRecord, NotKnownYet

TYPES: Final = ("Bind", "Message", "Unbind")
"""Records that are read in this framing: those that a producer may write."""
FRAME_BYTES: Final = 5
UNKNOWN_SECONDS: Final = 5.0
"""How long an id that the registry does not have is not asked for again."""
MOST_UNKNOWN: Final = 1_000
MOST_KNOWN: Final = 10_000


class Schemas(Protocol):
    """What is needed of `registry.Registry`."""

    def avro(self, number: int) -> dict[str, Any]:
        """Return the Avro schema with an id; see there for what it raises."""
        ...


class RegistryTranslator:
    """Translates records (`streams.engine.translation.Translator`); for any thread."""

    def __init__(self, registry: Schemas) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._known: dict[int, Foreign | str] = {}
        """The schema of an id, or why records with it are refused."""
        self._unknown: dict[int, float] = {}
        """When the registry was last asked for an id that it does not have."""

    def concerns(self, value: bytes | None) -> bool:
        """Tell whether a record's value is framed for a registry."""
        return value is not None and value[:1] == b"\0"

    def translate(self, value: bytes) -> bytes:
        """Return the value in single-object encoding, with our present schema.

        Raises:
            NotKnownYet, BadRecord: it cannot be read; the text says why.
            streams.errors.Unavailable: the registry does not answer.
        """
        if len(value) < FRAME_BYTES:
            raise BadRecord(f"truncated: {len(value)} bytes have no schema id")
        number = int.from_bytes(value[1:FRAME_BYTES], "big")
        found = self._known.get(number)
        if found is None:
            with self._lock:
                found = self._known.get(number) or self._ask(number)
        if isinstance(found, str):
            raise BadRecord(found)
        return found.translate(value, FRAME_BYTES)

    def _ask(self, number: int) -> Foreign | str:
        now = time.monotonic()
        if now < self._unknown.get(number, -math.inf) + UNKNOWN_SECONDS:
            raise NotKnownYet(f"schema id {number} is not in the registry")
        found: Foreign | str
        try:
            found = foreign(self._registry.avro(number), TYPES)
        except NotKnownYet:
            if len(self._unknown) >= MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[number] = now
            raise
        except BadRecord as exc:
            found = f"schema id {number}: {exc}"
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[number] = found
        return found


def translator(url: str) -> RegistryTranslator | None:
    """Return the translator for STREAMS_SCHEMA_REGISTRY_URL; None if it is empty.

    Raises:
        streams.errors.SettingsError: the client is not installed.
    """
    from streams.schema_registry.registry import Registry

    return RegistryTranslator(Registry(url)) if url else None
