"""A Confluent-compatible schema registry, asked by confluent-kafka's own client.

All calls block, and may come from any thread.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlsplit

from streams.errors import SettingsError, StreamsError, Unavailable
from streams.fold import BadRecord, NotKnownYet

ANSWER_SECONDS: Final = 5.0
"""How long the registry may take to answer."""
_NOT_FOUND: Final = 40403
"""The registry's error code for an id that it lacks; a 404 alone may be another server's."""


class Registry:
    """One schema registry."""

    def __init__(self, url: str) -> None:
        """Prepare; `url` may contain a user and a password.

        Raises:
            SettingsError: the client is not installed.
        """
        try:
            from confluent_kafka import schema_registry
        except ImportError as exc:
            raise SettingsError(
                "STREAMS_SCHEMA_REGISTRY_URL needs the client of the registry: "
                f"pip install 'group-streams[registry]' ({exc})"
            ) from None
        self._module: Any = schema_registry
        self._client = schema_registry.SchemaRegistryClient(
            {"url": url, "timeout": ANSWER_SECONDS, "max.retries": 0}
        )
        parts = urlsplit(url)
        self.shown: Final = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        """The URL without user and password."""

    def avro(self, number: int) -> dict[str, Any]:
        """Return the Avro schema with an id.

        Raises:
            NotKnownYet: the registry has no such id.
            BadRecord: the id is that of something else than a record in Avro.
            Unavailable: the registry does not answer, or not as a registry.
        """
        try:
            found = self._client.get_schema(number)
        except Exception as exc:  # of the registry, of the HTTP client, of JSON: many kinds
            if getattr(exc, "error_code", None) == _NOT_FOUND:
                raise NotKnownYet(
                    f"schema id {number} is not in the registry at {self.shown}"
                ) from None
            raise self._away(exc) from exc
        if found.schema_type != "AVRO":
            raise BadRecord(f"schema id {number} is of type {found.schema_type}, not AVRO")
        if found.references:
            raise BadRecord(f"schema id {number} refers to other schemas; that is not supported")
        try:
            schema = json.loads(found.schema_str or "")
        except (RecursionError, ValueError) as exc:
            raise BadRecord(f"schema id {number} is not JSON: {exc}") from None
        if not isinstance(schema, dict):
            raise BadRecord(f"schema id {number} is not a record")
        return schema

    def register(self, subject: str, schema: str) -> int:
        """Put an Avro schema there, unless it is there already; return its id.

        Raises:
            StreamsError: the registry refuses it.
            Unavailable: the registry does not answer.
        """
        try:
            return int(self._client.register_schema(subject, self._module.Schema(schema, "AVRO")))
        except self._module.SchemaRegistryError as exc:
            if 400 <= exc.http_status_code < 500:
                raise StreamsError(
                    f"the schema registry at {self.shown} refuses {subject}: {exc}"
                ) from exc
            raise self._away(exc) from exc
        except Exception as exc:  # of the HTTP client, of JSON: many kinds
            raise self._away(exc) from exc

    def _away(self, exc: Exception) -> Unavailable:
        reason = str(exc) or type(exc).__name__
        return Unavailable(f"the schema registry at {self.shown} does not answer: {reason}")
