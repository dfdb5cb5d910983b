"""Faust's worker process, with errors that explain why it cannot start."""

from __future__ import annotations

import logging
import sys
from typing import Any

from faust.worker import Worker as FaustWorker

from streams import __version__
from streams.errors import StreamsError

logger = logging.getLogger(__name__)


class Worker(FaustWorker):
    """Faust's worker; a `StreamsError` ends it with one line instead of a traceback."""

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
            await super().start()
        except StreamsError as exc:
            for line in str(exc).splitlines():
                print(f"streams: {line}", file=sys.__stderr__, flush=True)
            raise SystemExit(1) from None
