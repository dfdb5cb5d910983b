"""Opening a stream: many queues over one WebSocket (see `streams.gateway.streaming`)."""

from __future__ import annotations

from aiohttp import hdrs, web

from streams.gateway.auth.authenticator import PROTOCOL
from streams.gateway.auth.cross_site import is_same_origin
from streams.gateway.http.connection import COMMON_HEADERS
from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import HTTPError, bad_request
from streams.gateway.http.paths import integer
from streams.gateway.http.routing import HTTPRoute, Routes
from streams.gateway.streaming.service import FAREWELL_SECONDS, HEARTBEAT_SECONDS, PATH, Streaming
from streams.gateway.streaming.wire import Socket


class StreamRoutes(Routes):
    """The handler for streams."""

    def __init__(self, streaming: Streaming) -> None:
        self._streaming = streaming

    async def stream(self, context: RequestContext) -> web.StreamResponse:
        """Upgrade the request to a WebSocket and serve it until it ends."""
        batch = integer(context.parameters("batch"), "batch", 0, 0, 1) == 1
        request = context.request
        if request.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
            raise HTTPError(
                426, "not_a_websocket", "this path is a WebSocket", {"Upgrade": "websocket"}
            )
        if not is_same_origin(request.headers):
            raise HTTPError(403, "bad_origin", "pages of other sites may not open a stream here")
        _check_protocols(request)
        socket = Socket(
            timeout=FAREWELL_SECONDS,
            heartbeat=HEARTBEAT_SECONDS,
            compress=False,
            protocols=(PROTOCOL,),
            max_msg_size=context.parser.request_limit,
        )
        if not socket.can_prepare(request).ok:
            raise bad_request(
                "bad_websocket", "not a well-formed WebSocket handshake (RFC 6455, version 13)"
            )
        forwarded = context.proxied.is_forwarded
        self._streaming.check_count(context.principal, forwarded=forwarded)
        socket.headers.update(COMMON_HEADERS)
        try:
            await socket.prepare(request)
            await self._streaming.serve(context, socket, batch=batch, forwarded=forwarded)
        finally:
            await socket.release()
        return socket

    ROUTES = (HTTPRoute("GET", PATH, stream),)


def _check_protocols(request: web.BaseRequest) -> None:
    """Refuse subprotocols without ours: aiohttp would log them, and a token with them."""
    offered = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ())
    if offered and PROTOCOL not in [one.strip() for one in offered[0].split(",")]:
        raise bad_request("bad_websocket", f"offer the subprotocol {PROTOCOL}")
    if len(offered) > 1:
        raise bad_request("bad_websocket", "send Sec-WebSocket-Protocol only once")
