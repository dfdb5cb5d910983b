"""The Faust app: two topics, two tables, two agents, and the gateway on every worker.

``faust -A streams.app worker`` (or ``streams worker``) starts one worker of it.
"""

from __future__ import annotations

from typing import Any

import streams.cli  # noqa: F401 - so that `faust -A streams.app` knows our commands
from streams.engine.application import App
from streams.engine.partition import Partition
from streams.errors import SettingsError
from streams.fold import Fold, Rows
from streams.folds.counts import CountsByPartition
from streams.folds.deliver import Deliver
from streams.folds.notices import Notices
from streams.folds.route import Route
from streams.folds.tables import MEMBERS, QUEUES
from streams.gateway.http.server import Gateway
from streams.settings import Settings
from streams.ticking import Ticking

try:
    settings = Settings.from_env()
except SettingsError as error:
    raise SystemExit(f"streams: {error}") from None
app = App(settings)
counts = CountsByPartition()

group_events = app.chunks(settings.group_events)
queue_events = app.chunks(settings.queue_events)


def _route(rows: Rows, partition: int) -> Fold:
    return Route(
        rows,
        partition,
        settings.partitions,
        settings.queue_events,
        counts=counts.of(MEMBERS, partition),
    )


def _deliver(rows: Rows, partition: int) -> Fold:
    return Deliver(
        rows,
        partition,
        settings.partitions,
        settings.group_events,
        counts.of(QUEUES, partition),
        Notices(collect=True),
    )


members = app.folded_table(
    MEMBERS, settings.group_events, _route, help="who is bound to a group: group -> queues"
)
queues = app.folded_table(
    QUEUES, settings.queue_events, _deliver, help="inboxes, bindings and sessions of queues"
)


@app.agent(group_events, name="route")
async def route(chunks: Any) -> None:
    """Fold binds, unbinds and messages into `members`, and send on what queues must know."""
    async for together in chunks:
        members.fold(together)


@app.agent(queue_events, name="deliver")
async def deliver(chunks: Any) -> None:
    """Fold what concerns queues into `queues`."""
    async for together in chunks:
        queues.fold(together)


@app.task  # type: ignore[untyped-decorator]
async def tick() -> None:
    """Make time pass for the queues of this worker."""
    await Ticking(app.engine, settings).run()


gateway = app.gateway = Gateway(app, counts)


def _folded(partition: Partition, fold: Fold) -> None:
    """Wake the long polls that a chunk has something for."""
    gateway.on_chunk_end(partition)
    if isinstance(fold, Deliver):
        notices = fold.notices.drain()
        if notices.leased:
            gateway.on_leased(partition, notices.leased)
        if notices.released:
            gateway.on_released(notices.released)
        if gateway.waiting:
            gateway.on_delivered(notices.delivered)
        fold.notices.collect_delivered = gateway.waiting


app.engine.on_chunk_folded = _folded
app.engine.on_partition_lost = gateway.on_lost
app.engine.on_checkpoint = gateway.on_checkpoint
