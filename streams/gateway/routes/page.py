"""The page that every worker serves, from static files of this package.

The files hold no secrets, so they need no token; the page gets its data from the API.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from aiohttp import hdrs, web

from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import HTTPError
from streams.gateway.http.routing import HTTPRoute, Routes

INDEX = "index.html"
_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

HEADERS = {
    # Scripts and styles from this worker only, nothing inline, no framing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Revalidated each time: another version may be running by now.
    hdrs.CACHE_CONTROL: "no-cache",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    tag: str


@cache
def _files() -> dict[str, _File]:
    """Read all files of the page once."""
    found = {}
    for entry in files("streams.gateway").joinpath("page").iterdir():
        content_type = _TYPES.get(entry.name.rpartition(".")[2])
        if content_type is not None:
            body = entry.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            found[entry.name] = _File(body, content_type, tag)
    return found


class PageRoutes(Routes):
    """Handlers for the page; they need no authentication."""

    async def index(self, context: RequestContext) -> web.StreamResponse:
        """Return the page."""
        return _file_response(context, INDEX)

    async def part(self, context: RequestContext) -> web.StreamResponse:
        """Return a script, style sheet or image of the page."""
        return _file_response(context, context.segments["file"])

    ROUTES = (HTTPRoute("GET", "/", index), HTTPRoute("GET", "/page/{file}", part))


def _file_response(context: RequestContext, name: str) -> web.StreamResponse:
    file = _files().get(name)
    if file is None:
        raise HTTPError(404, "not_found", "the page has no such file")
    headers = {**HEADERS, hdrs.ETAG: file.tag}
    # A proxy that compresses the file makes the tag weak.
    if context.request.headers.get(hdrs.IF_NONE_MATCH, "").removeprefix("W/") == file.tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, headers={**headers, hdrs.CONTENT_TYPE: file.content_type})
