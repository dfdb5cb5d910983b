"""One request as its handler sees it."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from streams.gateway.auth.principal import ANONYMOUS, Principal
from streams.gateway.cluster.proxy import ProxiedRequest
from streams.gateway.http import fields, paths
from streams.gateway.writes.event_parser import EventParser


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request, its path split but not yet decoded."""

    request: web.BaseRequest
    raw_path: str
    raw_query: str
    segments: dict[str, str]
    """The encoded segment for each name in the template of the route."""
    parser: EventParser
    """Parses events, and lets through those that this client may send."""
    principal: Principal = ANONYMOUS

    @property
    def proxied(self) -> ProxiedRequest:
        """Return what another worker needs to answer the request instead of this one."""
        query = f"?{self.raw_query}" if self.raw_query else ""
        return ProxiedRequest(self.request, self.raw_path + query)

    def id(self, name: str) -> str:
        """Return the id called `name` in the template of the route.

        Raises:
            HTTPError: 400 if the id is invalid.
        """
        return fields.id_of(name, paths.decode_segment(name, self.segments[name]))

    def destination(self, name: str) -> str:
        """Return the group called `name`, or `@` and a queue.

        Raises:
            HTTPError: 400 if it is neither.
        """
        return fields.destination_of(name, paths.decode_segment(name, self.segments[name]))

    def pattern(self, name: str) -> str:
        """Return the pattern of routing keys called `name`.

        Raises:
            HTTPError: 400 if it is none.
        """
        return fields.pattern_of(name, paths.decode_segment(name, self.segments[name]))

    def parameters(self, *known: str) -> dict[str, str]:
        """Return the query parameters; only the `known` ones are allowed.

        Raises:
            HTTPError: 400 if another parameter is given, or one is given twice.
        """
        return paths.decode_query(self.raw_query, known)
