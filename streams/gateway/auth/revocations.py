"""The list of revoked tokens, reloaded when its file changes.

If a reload fails, the previous list stays in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from streams.amounts import counted
from streams.errors import SettingsError
from streams.security.revocation import Revoked, read_revoked

logger = logging.getLogger(__name__)

RELOAD_SECONDS: Final = 2.0
MAX_BYTES: Final = 64 * 1024 * 1024
VARIABLE: Final = "STREAMS_AUTH_REVOKED"


class Revocations:
    """The list of one worker; empty without a file."""

    def __init__(self, file: Path | None) -> None:
        self.now = Revoked()
        """Replaced whenever the list changes."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when the list has changed."""
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Load the list, and start watching its file.

        Raises:
            SettingsError: the list cannot be read, or is malformed.
        """
        if self._file is None:
            return
        try:
            await self.reload()
        except OSError as error:
            raise SettingsError(f"{VARIABLE}: cannot read the list: {error}") from None
        except SettingsError as error:
            raise SettingsError(f"{VARIABLE}: {error}") from None
        self._task = asyncio.get_running_loop().create_task(self._reload_regularly())

    async def close(self) -> None:
        """Stop reloading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def reload(self) -> None:
        """Reload the list if its file has changed.

        Raises:
            SettingsError: the list is malformed.
            OSError: the file cannot be read.
        """
        found = await asyncio.to_thread(self._read)
        if found is not None and found != self.now:
            self.now = found
            logger.info(
                "revocation list loaded: %s, and older tokens of %s",
                counted(len(found.tokens), "token"),
                counted(len(found.subjects), "subject"),
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
        # Noted before reading: a write in between is seen the next time.
        self._seen = seen
        return read_revoked(self._file.read_bytes())

    async def _reload_regularly(self) -> None:
        broken = False
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                await self.reload()
                broken = False
            except (SettingsError, OSError) as error:
                self._seen = None
                if not broken:
                    logger.warning(
                        "%s: cannot reload the list, keeping the previous one: %s", VARIABLE, error
                    )
                broken = True
