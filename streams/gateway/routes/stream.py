"""Opening a stream: many queues over one WebSocket (see `streams.gateway.streaming`)."""

from __future__ import annotations

from aiohttp import hdrs, web
from yarl import URL

from streams.gateway.answers import Refusal, bad
from streams.gateway.call import Call, Handler
from streams.gateway.connection import SERVER
from streams.gateway.forward import FORWARDED
from streams.gateway.paths import Route
from streams.gateway.streaming.service import CLOSE_SECONDS, HEARTBEAT_SECONDS, PATH


async def stream(call: Call) -> web.StreamResponse:
    """Turn the request into a WebSocket and serve it until it ends."""
    call.parameters()
    request = call.request
    if request.headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket":
        raise Refusal(426, "not_a_websocket", "this path is a WebSocket", {"Upgrade": "websocket"})
    _check_origin(request)
    socket = web.WebSocketResponse(
        timeout=CLOSE_SECONDS,
        heartbeat=HEARTBEAT_SECONDS,
        compress=False,
        max_msg_size=call.parts.intake.request_limit,
    )
    if not socket.can_prepare(request).ok:
        raise bad("bad_websocket", "not a well-formed WebSocket handshake (RFC 6455, version 13)")
    socket.headers[hdrs.SERVER] = SERVER
    await socket.prepare(request)
    await call.parts.streaming.serve(call, socket, forwarded=FORWARDED in request.headers)
    return socket


def _check_origin(request: web.BaseRequest) -> None:
    """Refuse pages of other sites: a browser lets any page open a WebSocket to anywhere."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None:
        return
    try:
        authority = URL(origin).authority
    except ValueError:
        authority = ""
    if authority.lower() != request.headers.get(hdrs.HOST, "").lower():
        raise Refusal(403, "bad_origin", "a page of another site may not open a stream here")


ROUTES: list[Route[Handler]] = [Route(PATH, {"GET": stream})]
