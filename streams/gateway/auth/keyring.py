"""The keys that verify tokens, reloaded regularly from a file or a URL.

Keys can be added and removed while workers run.  If a reload fails, the previous keys stay.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import aiohttp

from streams.amounts import counted
from streams.errors import SettingsError, Unavailable
from streams.security.keys import Key, read_keys
from streams.settings import Settings

logger = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 300.0
MIN_REFRESH_SECONDS: Final = 10.0
"""Shortest time between two reloads, whatever key ids tokens name."""
FETCH_SECONDS: Final = 5.0
MAX_BYTES: Final = 256 * 1024
_UNREACHABLE: Final = (Unavailable, OSError, aiohttp.ClientError, TimeoutError)


class Keyring:
    """The keys of one worker, from a file or from a URL."""

    def __init__(self, settings: Settings) -> None:
        self.keys: tuple[Key, ...] = ()
        """Replaced by another tuple whenever the keys change."""
        self._file = settings.auth_keys
        self._url = settings.auth_jwks_url
        self._variable = "STREAMS_AUTH_KEYS" if self._file else "STREAMS_AUTH_JWKS_URL"
        self._content = b""
        self._refreshed_at = -MIN_REFRESH_SECONDS
        self._refreshing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load the keys, and start reloading them.

        A URL that does not answer is retried; until it answers, no token can be verified.

        Raises:
            SettingsError: the keys are unusable; the text names the setting.
        """
        try:
            self._take(await self._get())
        except SettingsError as error:
            raise SettingsError(f"{self._variable}: {error}") from None
        except _UNREACHABLE as error:
            if self._file:
                raise SettingsError(f"{self._variable}: cannot read the keys: {error}") from None
            logger.warning(
                "cannot fetch signing keys from %s, retrying: %s", self._url, _text(error)
            )
        self._task = asyncio.get_running_loop().create_task(self._refresh_regularly())

    async def close(self) -> None:
        """Stop reloading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def check(self) -> None:
        """Check that there are keys.

        Raises:
            Unavailable: none have been loaded yet.
        """
        if not self.keys:
            raise Unavailable("cannot verify tokens yet: no signing keys have been loaded")

    async def refresh(self) -> bool:
        """Reload the keys unless that was done just now; tell whether they changed."""
        before = self.keys
        async with self._refreshing:
            loop = asyncio.get_running_loop()
            if self.keys is before and loop.time() - self._refreshed_at >= MIN_REFRESH_SECONDS:
                self._refreshed_at = loop.time()
                try:
                    self._take(await self._get())
                except (SettingsError, *_UNREACHABLE) as error:
                    logger.warning(
                        "%s: cannot reload the keys, keeping the previous ones: %s",
                        self._variable,
                        _text(error),
                    )
        return self.keys is not before

    def _take(self, content: bytes) -> None:
        if content != self._content:
            self.keys = read_keys(content)
            self._content = content
            logger.info("loaded %s to verify tokens", counted(len(self.keys), "key"))

    async def _get(self) -> bytes:
        if self._file:
            return await asyncio.to_thread(self._file.read_bytes)
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(
                self._url,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
            ) as response,
        ):
            if response.status >= 500:
                raise Unavailable(f"the server answered with HTTP status {response.status}")
            if response.status != 200:
                raise SettingsError(f"the server answered with HTTP status {response.status}")
            content = bytearray()
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > MAX_BYTES:
                    raise SettingsError(f"more than {MAX_BYTES} bytes")
            return bytes(content)

    async def _refresh_regularly(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS if self.keys else MIN_REFRESH_SECONDS)
            await self.refresh()


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
