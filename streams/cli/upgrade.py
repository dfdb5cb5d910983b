"""`streams upgrade`: how far the upgrade of a system is, and its last step."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from streams.amounts import counted
from streams.cli.client_command import Printer, client_command
from streams.settings import Settings

if TYPE_CHECKING:
    from streams.client import Client
    from streams.operate.levels import Survey

FOLDED_SECONDS = 120.0
"""How long the partitions may take to fold the new level."""
PAUSE_SECONDS = 0.2


@client_command()
@click.option(
    "--finish",
    is_flag=True,
    help="Raise all partitions to the level of this version.  No worker of an older version can "
    "open them afterwards.",
)
async def upgrade(client: Client, show: Printer, finish: bool) -> None:
    """Show each worker's version and whether the upgrade is finished; finish it.

    Workers of a new version fold records as the former version did.  When all workers run the
    new version and you do not want to go back, `--finish` switches its changes on.
    """
    from streams.folds.levels import KNOWN
    from streams.operate.levels import Survey, check_obstacles, raise_levels

    survey = Survey.of(await client.cluster(all=True))
    if finish and survey.below(KNOWN):
        check_obstacles(survey, KNOWN)
        settings = Settings.from_env()
        below = survey.below(KNOWN)
        await asyncio.to_thread(raise_levels, settings, below, survey.partitions, KNOWN)
        survey = await _folded(client, KNOWN)
    _print(survey, show, KNOWN)


async def _folded(client: Client, level: int) -> Survey:
    """Wait until all partitions have the level."""
    from streams.errors import Unavailable
    from streams.operate.levels import Survey
    from streams.stall_timer import StallTimer

    stall = StallTimer(FOLDED_SECONDS)
    while (survey := Survey.of(await client.cluster(all=True))).below(level):
        left = survey.below(level)
        if stall.is_stalled(len(left)):
            table, number = left[0]
            raise Unavailable(
                f"{counted(len(left), 'partition has', 'partitions have')} not folded level {level}"
                f" yet, one is {table}/{number}: see `streams cluster`, and run `streams upgrade`"
                " again"
            )
        await asyncio.sleep(PAUSE_SECONDS)
    return survey


def _print(survey: Survey, show: Printer, known: int) -> None:
    for worker in survey.workers:
        row = {"worker": worker.url, "version": worker.version, "known_level": worker.known}
        if worker.error:
            show(row | {"error": worker.error}, f"{worker.url} does not answer: {worker.error}")
        else:
            version = worker.version or "an older version"
            show(row, f"{worker.url} runs {version} and knows level {worker.known or '-'}")
    below = len(survey.below(known))
    total = len(survey.levels)
    summary = {"level": known, "partitions": total, "below": below}
    if not below:
        show(summary, f"all {total} partitions have level {known}: there is nothing to finish")
        return
    for obstacle in survey.obstacles(known):
        show({"obstacle": obstacle}, f"first: {obstacle}")
    show(
        summary,
        f"{below} of {total} partitions are below level {known}: when all workers run the new "
        "version, run `streams upgrade --finish`",
    )
