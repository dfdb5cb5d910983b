"""Faust's worker process, with errors that explain why it cannot start."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import signal
import sys
from typing import Any

from faust.worker import Worker as FaustWorker

from streams import __version__
from streams.data_folder import DataFolder
from streams.errors import StreamsError

logger = logging.getLogger(__name__)


class Worker(FaustWorker):
    """Faust's worker; a `StreamsError` ends it with one line instead of a traceback."""

    def _install_signal_handlers_unix(self) -> None:
        """Let SIGHUP, which comes when a terminal is closed, stop the worker as SIGTERM does.

        SIGUSR1 and SIGUSR2 write the stacks of all threads to stderr.
        """
        super()._install_signal_handlers_unix()
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            self.loop.add_signal_handler(signal.SIGHUP, self._schedule_shutdown, signal.SIGHUP)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            # Not through the event loop, as mode does: the loop may be what hangs. And no
            # debugger, which mode starts at SIGUSR2: it would stop the worker for good.
            self.loop.remove_signal_handler(number)
            faulthandler.register(number, file=sys.__stderr__ or sys.stderr, all_threads=True)

    async def _sentinel_task(self) -> None:
        """Do not sleep for a second before the process ends, as mode does."""
        await asyncio.sleep(0)

    async def on_execute(self) -> None:
        """Log what this worker is, as soon as logging is set up."""
        await super().on_execute()
        app: Any = self.app
        options = app.engine.options
        logger.info(
            "streams %s, worker of %s at %s, Kafka at %s, data in %s",
            __version__,
            options.app_id,
            app.conf.canonical_url,
            options.brokers,
            options.data,
        )

    def check(self) -> None:
        """Refuse to start, by raising a `StreamsError`, before Kafka is asked for anything."""

    async def start(self) -> None:
        """Start the app and run until it is stopped."""
        try:
            self.check()
            # A second worker must not join the group before it finds that it cannot open a table.
            app: Any = self.app
            self._folder = DataFolder(app.engine.options.data)
            self._folder.take()
            await super().start()
        except StreamsError as exc:
            for line in str(exc).splitlines():
                print(f"streams: {line}", file=sys.__stderr__, flush=True)
            raise SystemExit(1) from None
