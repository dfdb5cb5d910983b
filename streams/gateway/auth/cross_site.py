"""Protection from pages of other sites (CSRF), by the Host and Origin headers.

A browser lets any page send simple requests and open WebSockets to any address, and DNS
rebinding can make a page look like one of this machine.  Knows headers, not tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web

from streams.gateway.http.errors import HTTPError
from streams.settings import is_loopback

_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(?::\d*)?", re.ASCII)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_KNOWN_HOSTS: Final = 100


class CrossSiteCheck:
    """The host names of this worker, checked where no token protects it."""

    def __init__(self, *names: str) -> None:
        self._names = {name.lower() for name in names}
        self._known: set[str] = set()

    def check(self, request: web.BaseRequest) -> None:
        """Check that the request names this worker, and no other site's page changes anything.

        Raises:
            HTTPError: 403 if the Host header is foreign, or a page of another site writes.
        """
        for host in request.headers.getall(hdrs.HOST, ()):
            if host not in self._known:
                self._check_host(host)
        if request.method not in _SAFE_METHODS and not is_same_origin(request.headers):
            raise HTTPError(403, "bad_origin", "pages of other sites may not change anything here")

    def _check_host(self, host: str) -> None:
        match = _HOST.fullmatch(host)
        if match is None or not (is_loopback(match[1]) or match[1].lower() in self._names):
            raise HTTPError(
                403, "bad_host", "the Host header does not name this worker (DNS rebinding?)"
            )
        if len(self._known) < MAX_KNOWN_HOSTS:
            self._known.add(host)


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from this worker's own page, or from no page."""
    origin = headers.get(hdrs.ORIGIN)
    if origin is None:
        return True
    # Browsers leave the scheme's default port out of both headers (RFC 6454).
    scheme, _, authority = origin.lower().partition("://")
    return scheme in ("http", "https") and authority == headers.get(hdrs.HOST, "").lower() != ""
