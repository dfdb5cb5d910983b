"""`streams verify`: compares the live tables with the log and with each other (I5, I4)."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from streams.amounts import counted
from streams.cli.base import StreamsCommand
from streams.settings import Settings


class verify(StreamsCommand):
    """Rebuild both tables from the log; compare them with the live tables byte for byte.

    Also checks that the bindings in both tables are exact inverses.  Works on a live system:
    the rebuilt table is rolled forward to the position of each page of live rows.  Exit code 0
    only if there is no difference.
    """

    def execute_now(self, **_: Any) -> int:
        """Rebuild, compare, and print the differences."""
        from streams.operate.comparing import verify_all
        from streams.operate.progress import say

        settings = Settings.from_env()
        with tempfile.TemporaryDirectory(prefix="streams-") as folder:
            result = asyncio.run(verify_all(settings, settings.advertised_url, Path(folder)))
        for partition in result.from_changelog:
            say(f"{partition}: rebuilt from its changelog, because its log does not hold all of it")
        for hold in result.holds:
            say(f"{hold}; they are not compared")
        for text in result.differences:
            click.echo(text, err=True)
        if result.count > len(result.differences):
            say(f"... and {result.count - len(result.differences):,} more")
        click.echo(
            f"{counted(result.rows, 'row')} of {counted(result.partitions, 'table partition')}"
            f" compared with the log, {counted(result.bindings, 'binding')} with the inverse: "
            + ("no difference" if not result.count else counted(result.count, "difference"))
        )
        sys.stdout.flush()
        return 1 if result.count else 0
