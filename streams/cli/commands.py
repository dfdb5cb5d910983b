"""Faust's command line with our commands; importing this module is what adds them."""

from __future__ import annotations

import click
from faust import __version__ as faust_version
from faust.cli.faust import cli

from streams import __version__
from streams.cli import worker  # noqa: F401 - in place of Faust's own
from streams.cli.own_commands import ours

__all__ = ["cli"]

for _name, _command in ours.commands.items():
    cli.add_command(_command, _name)

cli.params = [option for option in cli.params if option.name != "version"]
click.version_option(__version__, message=f"%(prog)s %(version)s (Faust {faust_version})")(cli)
"""Faust's own `--version` names Faust alone."""
