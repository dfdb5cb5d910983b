"""`streams bridge`: joins another site to this one."""

from __future__ import annotations

import logging.config
import re
from pathlib import Path
from typing import Any

import click

from streams.cli.base import StreamsCommand, argument, option
from streams.errors import SettingsError
from streams.ids import DIRECT
from streams.logs import logging_config
from streams.settings import Settings


class bridge(StreamsCommand):
    """Copy messages that are published at SITE into this site, until Ctrl-C.

    SITE is a name for the other site.  FILE has its settings, one NAME=VALUE per line:
    at least STREAMS_BROKERS, and how to authenticate.  This site's settings are those of the
    environment.  Every message crosses once, in the order of its group, whatever is
    interrupted.  For both directions, run another bridge at the other site.
    """

    options = (
        argument("site"),
        argument("file", type=click.Path(path_type=Path)),
        option(
            "--group",
            "groups",
            multiple=True,
            default=("*",),
            metavar="PATTERN",
            help="Groups whose messages cross; * matches any characters; may be repeated.",
        ),
        option(
            "--from",
            "beginning",
            type=click.Choice(["start", "now"]),
            help="Where to begin at first, or when the kept place is gone: at the oldest "
            "message, or with those published from now on.",
        ),
    )

    def execute_now(
        self, site: str, file: Path, groups: tuple[str, ...], beginning: str | None, **_: Any
    ) -> int:
        """Copy until Ctrl-C."""
        from streams.bridge.bridge import Bridge, Link
        from streams.bridge.site_file import site_settings

        if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", site, re.ASCII):
            raise SettingsError(f"SITE must be of letters, digits, '.', '_' and '-', not {site!r}")
        for pattern in groups:
            if not pattern or pattern.startswith(DIRECT):
                raise SettingsError(
                    f"--group {pattern!r}: only messages to groups cross; bind the queue to a "
                    "group of its own, and publish to that"
                )
        here = Settings.from_env()
        there = site_settings(file)
        logging.config.dictConfig(
            logging_config(here.log_level, here.log_format, f"bridge-from-{site}")
        )
        try:
            Bridge(Link(here, there, site, groups, beginning)).run()
        except KeyboardInterrupt:
            return 0
        return 0
