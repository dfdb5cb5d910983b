"""The keys that tokens are checked with, as they are now: read again from time to time.

So a key can be added, or taken back, while workers run.  When a new set cannot be had or is
not right, the one there is stays.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import aiohttp

from streams.errors import SettingsError, Unavailable
from streams.security.keys import Key, read_keys
from streams.settings import Settings

logger = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 300.0
SOON_SECONDS: Final = 10.0
"""Keys are not looked for more often than this, whatever tokens name."""
FETCH_SECONDS: Final = 5.0
MAX_BYTES: Final = 256 * 1024
_AWAY: Final = (Unavailable, OSError, aiohttp.ClientError, TimeoutError)


class Keyring:
    """The keys of one worker, from a file or from a URL."""

    def __init__(self, settings: Settings) -> None:
        self.keys: tuple[Key, ...] = ()
        """Another tuple whenever they have changed."""
        self._file = settings.auth_keys
        self._url = settings.auth_jwks_url
        self._variable = "STREAMS_AUTH_KEYS" if self._file else "STREAMS_AUTH_JWKS_URL"
        self._content = b""
        self._looked = -SOON_SECONDS
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Get the keys, and begin to look for new ones.

        A URL that does not answer is asked again: until it does, no token can be checked.

        Raises:
            SettingsError: there are keys, and they cannot be used; the text names the setting.
        """
        try:
            self._take(await self._get())
        except SettingsError as error:
            raise SettingsError(f"{self._variable}: {error}") from None
        except _AWAY as error:
            if self._file:
                raise SettingsError(f"{self._variable}: cannot be read: {error}") from None
            logger.warning("no keys from %s yet: %s", self._url, _text(error))
        self._task = asyncio.get_running_loop().create_task(self._look_always())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def check(self) -> None:
        """See that there are keys.

        Raises:
            Unavailable: none could be had yet.
        """
        if not self.keys:
            raise Unavailable("the keys that tokens are checked with cannot be had yet")

    async def look_again(self) -> bool:
        """Look for new keys, if that was not done just now; tell whether they have changed."""
        before = self.keys
        async with self._looking:
            loop = asyncio.get_running_loop()
            if self.keys is before and loop.time() - self._looked >= SOON_SECONDS:
                self._looked = loop.time()
                try:
                    self._take(await self._get())
                except (SettingsError, *_AWAY) as error:
                    logger.warning(
                        "%s: no new keys, the old ones stay: %s", self._variable, _text(error)
                    )
        return self.keys is not before

    def _take(self, content: bytes) -> None:
        if content != self._content:
            self.keys = read_keys(content)
            self._content = content
            logger.info("%d keys to check tokens with", len(self.keys))

    async def _get(self) -> bytes:
        if self._file:
            return await asyncio.to_thread(self._file.read_bytes)
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(
                self._url,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
            ) as answer,
        ):
            if answer.status >= 500:
                raise Unavailable(f"the answer was HTTP status {answer.status}")
            if answer.status != 200:
                raise SettingsError(f"the answer was HTTP status {answer.status}")
            content = bytearray()
            async for piece in answer.content.iter_any():
                content += piece
                if len(content) > MAX_BYTES:
                    raise SettingsError(f"more than {MAX_BYTES} bytes")
            return bytes(content)

    async def _look_always(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS if self.keys else SOON_SECONDS)
            await self.look_again()


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
