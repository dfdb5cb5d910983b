"""What a bridge needs of others."""

from __future__ import annotations

from typing import Protocol


class Translator(Protocol):
    """Reads records in the framing of a schema registry (`schema_registry.translating`)."""

    def translate(self, value: bytes) -> bytes:
        """Return the value as folds read it; see `RegistryTranslator` for what it raises."""
        ...
