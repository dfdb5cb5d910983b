"""Opening a stream: many queues over one WebSocket (see `streams.gateway.streaming`)."""

from __future__ import annotations

from aiohttp import hdrs, web

from streams.gateway.auth.authenticator import PROTOCOL
from streams.gateway.auth.cross_site import is_same_origin
from streams.gateway.cluster.proxy import FORWARDED
from streams.gateway.http.connection import COMMON_HEADERS
from streams.gateway.http.context import Handler, RequestContext
from streams.gateway.http.errors import HTTPError, bad_request
from streams.gateway.http.paths import Route, integer
from streams.gateway.streaming.service import FAREWELL_SECONDS, HEARTBEAT_SECONDS, PATH
from streams.gateway.streaming.wire import Socket


async def stream(context: RequestContext) -> web.StreamResponse:
    """Turn the request into a WebSocket and serve it until it ends."""
    batch = integer(context.parameters("batch"), "batch", 0, 0, 1) == 1
    request = context.request
    if request.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
        raise HTTPError(
            426, "not_a_websocket", "this path is a WebSocket", {"Upgrade": "websocket"}
        )
    if not is_same_origin(request.headers):
        raise HTTPError(403, "bad_origin", "a page of another site may not open a stream here")
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
    socket.headers.update(COMMON_HEADERS)
    await socket.prepare(request)
    await context.parts.streaming.serve(
        context, socket, batch=batch, forwarded=FORWARDED in request.headers
    )
    return socket


def _check_protocols(request: web.BaseRequest) -> None:
    """Refuse a client that offers subprotocols without ours: they would go to the log."""
    offered = request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ())
    if offered and PROTOCOL not in [one.strip() for one in offered[0].split(",")]:
        raise bad_request(
            "bad_websocket", f"of subprotocols, {PROTOCOL} must be among those offered"
        )
    if len(offered) > 1:
        raise bad_request("bad_websocket", "Sec-WebSocket-Protocol must be there once")


ROUTES: list[Route[Handler]] = [Route(PATH, {"GET": stream})]
