"""One request on its way through the gateway, and the parts that answer it.

Routes get a `Call` and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from aiohttp import web

from streams.gateway.auth.principal import NOBODY, Principal
from streams.gateway.http import fields, paths
from streams.gateway.writes.intake import Intake
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.gateway.auth.guard import Guard
    from streams.gateway.cluster.overview import Overview
    from streams.gateway.cluster.owners import Owners
    from streams.gateway.metrics.registry import Metrics
    from streams.gateway.ports import Engine
    from streams.gateway.reads.chunk_ends import ChunkEnds
    from streams.gateway.reads.counting import Counting
    from streams.gateway.reads.history import History
    from streams.gateway.reads.inbox_wait import InboxWaits
    from streams.gateway.reads.lease_book import LeaseBook
    from streams.gateway.streaming.service import Streaming
    from streams.gateway.writes.admission import Admission
    from streams.gateway.writes.publishing import Publishing


@dataclass(frozen=True, slots=True)
class Parts:
    """What the requests of one worker share."""

    settings: Settings
    engine: Engine
    guard: Guard
    admission: Admission
    publishing: Publishing
    owners: Owners
    waits: InboxWaits
    counting: Counting
    history: History
    leases: LeaseBook
    chunk_ends: ChunkEnds
    metrics: Metrics
    streaming: Streaming
    overview: Overview


@dataclass(frozen=True, slots=True)
class Call:
    """One request, its path taken apart but not yet decoded."""

    request: web.BaseRequest
    raw_path: str
    raw_query: str
    segments: dict[str, str]
    parts: Parts
    principal: Principal = NOBODY

    @property
    def intake(self) -> Intake:
        """What makes events for this client: those that it may send, and no others."""
        return Intake(self.parts.settings, self.principal.permissions)

    def id(self, name: str) -> str:
        """Return the id that stands for `name` in the path.

        Raises:
            Refusal: 400, it is no id.
        """
        return fields.id_of(name, paths.decode_segment(name, self.segments[name]))

    def destination(self, name: str) -> str:
        """Return the group in the path, or `@` and a queue.

        Raises:
            Refusal: 400, it is neither.
        """
        return fields.destination_of(name, paths.decode_segment(name, self.segments[name]))

    def parameters(self, *known: str) -> dict[str, str]:
        """Return the query's parameters, of which there may be the `known` ones.

        Raises:
            Refusal: 400, there is another, or one is given twice.
        """
        return paths.decode_query(self.raw_query, known)


Handler: TypeAlias = Callable[[Call], Awaitable[web.StreamResponse]]
