"""Registers every command of this package in `ours`; importing this module is what does it."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Final

import click

from streams.cli import (  # noqa: F401 - each module registers its commands
    backup,
    bindings,
    bridge,
    broker,
    cluster,
    history,
    inbox,
    inspect,
    leases,
    messages,
    queues,
    replay,
    rescale,
    reset,
    schemas,
    sessions,
    tail,
    token,
    topics,
    up,
    upgrade,
    verify,
)
from streams.cli.base import ours

__all__ = ["LAB_COMMANDS", "ours"]

LAB_COMMANDS: Final = ("bench", "demo", "faults", "run")
"""Commands that group-streams-lab brings."""


def _register_lab() -> None:
    """Register the lab's commands; without the lab, they say how to install it."""
    if importlib.util.find_spec("streams.lab") is not None:
        importlib.import_module("streams.lab.cli")
        return
    for name in LAB_COMMANDS:
        missing = click.Command(
            name,
            callback=_lab_is_missing,
            params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
            hidden=True,
            add_help_option=False,
            context_settings={"ignore_unknown_options": True},
        )
        ours.add_command(missing)


@click.pass_context
def _lab_is_missing(context: click.Context, arguments: tuple[str, ...]) -> None:
    click.echo(
        f"streams: `streams {context.info_name}` is part of the lab, which is not installed;"
        " install it with: pip install 'group-streams[lab]'",
        err=True,
    )
    context.exit(1)


_register_lab()
