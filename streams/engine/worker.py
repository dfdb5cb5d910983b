"""Faust's worker process, which says in one line why it cannot start."""

from __future__ import annotations

import sys
from typing import Any

from faust.worker import Worker as FaustWorker

from streams.errors import StreamsError


class Worker(FaustWorker):
    """Faust's worker; an error of ours ends it with a line instead of a traceback."""

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
