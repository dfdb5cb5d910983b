"""One request on its way through the gateway, and the parts that answer it.

Routes get a `RequestContext` and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from aiohttp import web

from streams.gateway.auth.principal import ANONYMOUS, Principal
from streams.gateway.http import fields, paths
from streams.gateway.writes.event_parser import EventParser
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.gateway.auth.authenticator import Authenticator
    from streams.gateway.cluster.overview import Overview
    from streams.gateway.cluster.partition_router import PartitionRouter
    from streams.gateway.metrics.registry import Metrics
    from streams.gateway.ports import Engine
    from streams.gateway.reads.barrier import Barrier
    from streams.gateway.reads.history import History
    from streams.gateway.reads.lease_results import LeaseResults
    from streams.gateway.reads.long_polls import LongPolls
    from streams.gateway.reads.row_counter import RowCounter
    from streams.gateway.streaming.service import Streaming
    from streams.gateway.writes.admission import Admission
    from streams.gateway.writes.publishing import Publishing


@dataclass(frozen=True, slots=True)
class Parts:
    """What the requests of one worker share."""

    settings: Settings
    engine: Engine
    guard: Authenticator
    admission: Admission
    publishing: Publishing
    owners: PartitionRouter
    waits: LongPolls
    counting: RowCounter
    history: History
    leases: LeaseResults
    chunk_ends: Barrier
    metrics: Metrics
    streaming: Streaming
    overview: Overview


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request, its path taken apart but not yet decoded."""

    request: web.BaseRequest
    raw_path: str
    raw_query: str
    segments: dict[str, str]
    parts: Parts
    principal: Principal = ANONYMOUS

    @property
    def parser(self) -> EventParser:
        """What makes events for this client: those that it may send, and no others."""
        return EventParser(self.parts.settings, self.principal.permissions)

    def id(self, name: str) -> str:
        """Return the id that stands for `name` in the path.

        Raises:
            HTTPError: 400, it is no id.
        """
        return fields.id_of(name, paths.decode_segment(name, self.segments[name]))

    def destination(self, name: str) -> str:
        """Return the group in the path, or `@` and a queue.

        Raises:
            HTTPError: 400, it is neither.
        """
        return fields.destination_of(name, paths.decode_segment(name, self.segments[name]))

    def parameters(self, *known: str) -> dict[str, str]:
        """Return the query's parameters, of which there may be the `known` ones.

        Raises:
            HTTPError: 400, there is another, or one is given twice.
        """
        return paths.decode_query(self.raw_query, known)


Handler: TypeAlias = Callable[[RequestContext], Awaitable[web.StreamResponse]]
