"""The command line: Faust's own commands for our app, and those of this package.

`streams X` and `faust -A streams.app X` are the same: importing this package registers its
commands with Faust's command line, which is all that `streams.app` does with it.  What a
command does is imported only when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from faust.cli.faust import cli

from streams.cli.bench import bench
from streams.cli.bindings import bind, members, unbind
from streams.cli.broker import broker
from streams.cli.demo import demo
from streams.cli.faults import faults
from streams.cli.inbox import acknowledge, read
from streams.cli.inspect import inspect
from streams.cli.leases import lease, nack
from streams.cli.messages import events, publish
from streams.cli.past import history
from streams.cli.queues import erase, queue
from streams.cli.replay import replay
from streams.cli.run import run
from streams.cli.sessions import session
from streams.cli.status import cluster
from streams.cli.tail import tail
from streams.cli.token import token
from streams.cli.topics import topics
from streams.cli.up import up
from streams.cli.verify import verify
from streams.cli.worker import worker

__all__ = [
    "acknowledge",
    "bench",
    "bind",
    "broker",
    "cluster",
    "demo",
    "erase",
    "events",
    "faults",
    "history",
    "inspect",
    "lease",
    "main",
    "members",
    "nack",
    "publish",
    "queue",
    "read",
    "replay",
    "run",
    "session",
    "tail",
    "token",
    "topics",
    "unbind",
    "up",
    "verify",
    "worker",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line with `streams.app` as the app; never returns."""
    cli(
        args=None if arguments is None else list(arguments),
        prog_name="streams",
        # As if -A streams.app had been given, but imported by commands that need it alone.
        default_map={"app": "streams.app"},
    )
