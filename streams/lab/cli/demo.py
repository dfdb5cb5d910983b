"""`streams demo`: plays the measured workload on a running system."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from streams.cli.base import StreamsCommand, option
from streams.settings import Settings

PLAN_OPTIONS = (
    option(
        "--seconds",
        type=click.FloatRange(min=0),
        default=60.0,
        help="How long to play; 0: until Ctrl-C.",
    ),
    option(
        "--scale",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        help="Size of the workload, in multiples of the measured one.",
    ),
)


class demo(StreamsCommand):
    """Play the measured workload on the running system, and check every inbox.

    Creates residents and groups, lets them join, leave and talk, and compares both tables and
    what online residents read with an independent model.  Exit code 0 only if nothing was lost,
    duplicated, reordered or misdelivered.
    """

    options = (
        *PLAN_OPTIONS,
        option(
            "--url",
            "urls",
            multiple=True,
            show_default=False,
            help="URL of a worker, such as http://host:6066; default: the one in the settings.",
        ),
    )

    def execute_now(self, seconds: float, scale: float, urls: tuple[str, ...], **_: Any) -> int:
        """Play, print the summary, and return the exit code."""
        from streams.lab.demo.playing import DemoPlan, play
        from streams.lab.demo.summary import show

        settings = Settings.from_env()
        known = [url.rstrip("/") for url in urls] or [settings.advertised_url]
        outcome = asyncio.run(play(settings, known, DemoPlan(seconds, scale)))
        show(outcome, as_json=self.json)
        return 0 if outcome.ok else 1
