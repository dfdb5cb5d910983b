"""The HTTP session of callers that ask workers with the settings of this process."""

from __future__ import annotations

import ssl

import aiohttp

from streams.client.requests import bearer
from streams.settings import Settings


def open_session(settings: Settings | None) -> aiohttp.ClientSession:
    """Return a session without a limit of connections; call it in the event loop.

    `settings` give the bearer token, and the authorities whose certificates to trust.  Without
    them, no token is sent, and those of the system are trusted.
    """
    tls: ssl.SSLContext | bool = True
    if settings is not None and settings.http_tls_cafile:
        tls = settings.http_client_tls()
    return aiohttp.ClientSession(
        headers=bearer(None if settings is None else settings.token or None),
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),
    )
