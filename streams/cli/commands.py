"""Faust's command line with our commands; importing this module is what adds them."""

from __future__ import annotations

from faust.cli.faust import cli

from streams.cli import worker  # noqa: F401 - in place of Faust's own
from streams.cli.own_commands import ours

__all__ = ["cli"]

for _name, _command in ours.commands.items():
    cli.add_command(_command, _name)
