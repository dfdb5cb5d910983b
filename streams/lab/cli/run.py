"""`streams run`: starts a fresh system, plays the demo on it, and stops it."""

from __future__ import annotations

import asyncio
from typing import Any

from streams.cli.base import StreamsCommand
from streams.cli.up import WORKERS_OPTION
from streams.lab.cli.demo import PLAN_OPTIONS
from streams.settings import Settings

FOLDER = "run"
"""Folder of a run under STREAMS_DATA; emptied before each run."""


class run(StreamsCommand):
    """Start a fresh system, play the measured workload on it, and stop it.

    Starts an embedded Kafka unless STREAMS_BROKERS is set; Kafka and workers get free ports.
    Exit code 0 only if nothing was lost, duplicated, reordered or misdelivered.
    """

    options = (*PLAN_OPTIONS, WORKERS_OPTION)

    def execute_now(self, seconds: float, scale: float, workers: int, **_: Any) -> int:
        """Start, play, print the summary, stop, and return the exit code."""
        from streams.lab.demo.playing import DemoPlan, play
        from streams.lab.demo.summary import show
        from streams.operate.system import system

        settings = Settings.from_env()
        data = settings.data / FOLDER
        with system(settings, data, workers, private=True, fresh=True) as running:
            outcome = asyncio.run(
                play(
                    running.settings,
                    running.workers.urls,
                    DemoPlan(seconds, scale),
                    between=running.mend,
                )
            )
            show(outcome, as_json=self.json)
        return 0 if outcome.ok else 1
