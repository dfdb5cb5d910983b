"""The list of revoked tokens as it is now: looked at again every few seconds.

A list that cannot be read, or is malformed, leaves the one before in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.errors import SettingsError
from streams.security.revocation import Revoked, read_revoked

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
MAX_BYTES: Final = 64 * 1024 * 1024
VARIABLE: Final = "STREAMS_AUTH_REVOKED"


class Revocations:
    """The list of one worker, from a file; an empty one without."""

    def __init__(self, file: Path | None) -> None:
        self.now = Revoked()
        """Another one whenever it has changed."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when it has changed."""
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the list, and begin to look for changes.

        Raises:
            SettingsError: it cannot be read, or is malformed.
        """
        if self._file is None:
            return
        try:
            await self.look()
        except OSError as error:
            raise SettingsError(f"{VARIABLE}: cannot be read: {error}") from None
        except SettingsError as error:
            raise SettingsError(f"{VARIABLE}: {error}") from None
        self._task = asyncio.get_running_loop().create_task(self._look_always())

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def look(self) -> None:
        """Read the list if its file has changed.

        Raises:
            SettingsError: it is malformed.
            OSError: it cannot be read.
        """
        found = await asyncio.to_thread(self._read)
        if found is not None and found != self.now:
            self.now = found
            logger.info(
                "revoked: %d tokens, older ones of %d subjects",
                len(found.tokens),
                len(found.subjects),
            )
            self.on_change()

    def _read(self) -> Revoked | None:
        assert self._file is not None
        stat = self._file.stat()
        seen = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if seen == self._seen:
            return None
        if stat.st_size > MAX_BYTES:
            raise SettingsError(f"more than {MAX_BYTES} bytes")
        # Noted before it is read: what is written meanwhile is seen the next time.
        self._seen = seen
        return read_revoked(self._file.read_bytes())

    async def _look_always(self) -> None:
        broken = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
                broken = False
            except (SettingsError, OSError) as error:
                self._seen = None
                if not broken:
                    logger.warning("%s: the list before stays in force: %s", VARIABLE, error)
                broken = True
