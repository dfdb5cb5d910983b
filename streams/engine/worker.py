"""Faust's worker process, which logs as the settings say, and says why it cannot start."""

from __future__ import annotations

import logging
import sys
from typing import Any

from faust.worker import Worker as FaustWorker
from mode.utils.logging import level_name

from streams import __version__
from streams.errors import StreamsError
from streams.logs import logging_config

logger = logging.getLogger(__name__)

_NOT_GIVEN = (None, "WARN")
"""What Faust's option --loglevel is when nobody has given it."""


class Worker(FaustWorker):
    """Faust's worker; an error of ours ends it with a line instead of a traceback."""

    def __init__(self, app: Any, *services: Any, **options: Any) -> None:
        settings = app.settings
        level = options.pop("loglevel", None)
        level = settings.log_level if level in _NOT_GIVEN else level_name(level).upper()
        config = logging_config(
            level, settings.log_format, str(app.conf.canonical_url), options.get("logfile")
        )
        super().__init__(app, *services, loglevel=level, logging_config=config, **options)

    async def on_execute(self) -> None:
        """Say what this worker is, now that its log is there."""
        await super().on_execute()
        app: Any = self.app
        logger.info(
            "streams %s, worker of %s at %s, Kafka at %s, data in %s",
            __version__,
            app.settings.app_id,
            app.conf.canonical_url,
            app.settings.brokers,
            app.settings.data,
        )

    async def start(self) -> None:
        """Start the app and run until it is stopped."""
        try:
            app: Any = self.app
            if app.conf.web_enabled:
                # Before Kafka is waited for; the gateway asks again.
                app.settings.check_public(app.conf.web_bind)
            await super().start()
        except StreamsError as exc:
            for line in str(exc).splitlines():
                print(f"streams: {line}", file=sys.__stderr__, flush=True)
            raise SystemExit(1) from None
