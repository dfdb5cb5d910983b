"""Handles each request: finds its route, authenticates it, calls the handler, sends the response.

Knows nothing of what handlers do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from aiohttp import web

from streams.errors import StreamsError
from streams.gateway.auth.access import check_access
from streams.gateway.auth.authenticator import Authenticator
from streams.gateway.auth.principal import ANONYMOUS, UNRESTRICTED, Principal
from streams.gateway.http.connection import COMMON_HEADERS, HTTPConnection
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import HTTPError, to_http_error
from streams.gateway.http.paths import split_target
from streams.gateway.http.responses import error_response
from streams.gateway.http.routing import Handler, HTTPRoute, Router
from streams.gateway.http.sending import send
from streams.gateway.metrics.registry import Metrics
from streams.gateway.writes.admission import Admission
from streams.gateway.writes.event_parser import EventParser
from streams.settings import Settings

logger = logging.getLogger(__name__)

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


class Dispatcher:
    """Handles the requests of one worker."""

    def __init__(
        self,
        routes: Iterable[HTTPRoute[Handler]],
        authenticator: Authenticator,
        metrics: Metrics,
        settings: Settings,
        unsent: Admission,
    ) -> None:
        self._router = Router(routes)
        self._authenticator = authenticator
        self._metrics = metrics
        self._settings = settings
        self._unsent = unsent

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send the response to a request, and return it."""
        began = time.perf_counter()
        template, status = "unknown", "gone"
        try:
            template, principal, response = await self._respond(request)
            for name, value in COMMON_HEADERS.items():
                response.headers.setdefault(name, value)
            # What anybody may read is the same for all, and few connections have no token.
            unsent = None if principal is ANONYMOUS else self._unsent
            response = await send(request, response, unsent, principal.name or None)
            status = str(response.status)
            return response
        finally:
            method = request.method if request.method in _METHODS else "other"
            self._metrics.answered(method, template, status, time.perf_counter() - began)

    async def _respond(self, request: web.BaseRequest) -> tuple[str, Principal, web.StreamResponse]:
        """Return the template of the path, for the metrics, who asks, and the response."""
        template, principal = "unknown", ANONYMOUS
        try:
            raw_path, raw_query = split_target(request.raw_path)
            if raw_path == "*" and request.method == "OPTIONS":
                return template, principal, web.Response(status=204)
            resource, segments = self._router.find(raw_path)
            template = resource.template
            if request.method == "OPTIONS":
                headers = {"Allow": resource.allow}
                return template, principal, web.Response(status=204, headers=headers)
            method, handler = resource.handler(request.method)
            principal = await self._authenticator.authenticate(request, method, template)
            if principal is not ANONYMOUS and isinstance(request.protocol, HTTPConnection):
                request.protocol.authenticated(principal.name)
            parser = EventParser(self._settings, principal.permissions)
            context = RequestContext(request, raw_path, raw_query, segments, parser, principal)
            if principal is not UNRESTRICTED:
                check_access(context, method, template)
            return template, principal, await handler(context)
        except StreamsError as error:
            return template, principal, self._refused(error, request, template, principal)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, template)
            return template, principal, error_response(HTTPError(500, "internal", "internal error"))

    def _refused(
        self, error: StreamsError, request: web.BaseRequest, template: str, principal: Principal
    ) -> web.StreamResponse:
        """Return the response to a request that failed, and log what operators should know.

        A function of its own: a frame that an error has come through must not keep it.  The error
        keeps the frame, and so all that was read of the request, until the garbage collector comes.
        """
        refused = to_http_error(error)
        if refused.status == 500:
            logger.exception("%s %s failed", request.method, template)
        elif refused.status in (401, 403) or refused.code == "rate_limited":
            self._authenticator.log_refusal(refused, request, template, principal)
        return error_response(refused)
