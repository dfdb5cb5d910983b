"""The demo's last check sees what is wrong in the tables; its rows are served from memory."""

from __future__ import annotations

import base64
from array import array
from typing import Any

import pytest

from streams.events.codec import encode
from streams.events.records import Bind, Message, Unbind
from streams.lab.demo.checking import CheckReport, TableCheck
from streams.lab.demo.readers import InboxReader
from streams.lab.workload.model import GroupEvent, Model, QueuedMessage
from streams.lab.workload.population import Names, Population
from streams.operate.gateway_client import GatewayClient

NAMES = Names("t")


class Tables(GatewayClient):
    """Answers for the rows of two tables of one partition, in pages of two."""

    def __init__(self, members: dict[bytes, bytes], queues: dict[bytes, bytes]) -> None:
        super().__init__(["http://none"])
        self.rows = {"members": members, "queues": queues}

    async def ask(self, method: str, path: str, *args: Any, **kwargs: Any) -> Any:
        where, _, query = path.partition("?")
        table = where.split("/")[3]
        after = b""
        for part in query.split("&"):
            if part.startswith("after="):
                after = base64.urlsafe_b64decode(part.removeprefix("after=") + "===")
        rows = sorted(row for row in self.rows[table].items() if row[0] > after)
        shown = [[base64.urlsafe_b64encode(part).decode() for part in row] for row in rows[:2]]
        return {"position": 0, "rows": shown, "next": shown[-1][0] if len(rows) > 2 else None}


def bound(group: int, resident: int) -> tuple[bytes, bytes]:
    """Return the keys of a binding in both tables."""
    g, q = NAMES.group(group).encode(), NAMES.queue(resident).encode()
    return b"m" + g + b"\0" + q, b"b" + q + b"\0" + g


class World:
    """Two groups: residents 0 and 1 in the first, 1 in the second; 2 joins, a message, 0 leaves."""

    def __init__(self) -> None:
        self.population = Population(3, array("I", [0, 2, 3]), array("I", [0, 1, 1]))
        first = NAMES.group(0)
        start = {first: [NAMES.queue(0), NAMES.queue(1)]}
        self.model = Model(lambda group: start.get(group, ()))
        self.message = Message("m", first, "s")
        events: list[GroupEvent] = [
            Bind(first, NAMES.queue(2)),
            self.message,
            Unbind(first, NAMES.queue(0)),
        ]
        for offset, event in enumerate(events):
            self.model.apply(0, offset, 0, event)
        pairs = [bound(0, 1), bound(0, 2), bound(1, 1)]
        self.members = {key: b"\0\0" for key, _ in pairs} | {b"t\0": bytes(8)}
        self.queues = {key: b"" for _, key in pairs}
        for resident in (0, 1, 2):
            self.deliver(resident, 4096)
        self.readers: dict[str, InboxReader] = {}

    def deliver(self, resident: int, seq: int) -> bytes:
        key = b"i" + NAMES.queue(resident).encode() + b"\0" + seq.to_bytes(8, "big")
        self.queues[key] = encode(self.message)
        return key

    async def report(self) -> CheckReport:
        tables = Tables(self.members, self.queues)
        check = TableCheck(tables, 1, self.population, NAMES, self.model)
        return await check.run(self.readers, lambda rows: None)


async def test_all_is_well() -> None:
    # Given tables that are just as the model says, and somebody else's rows beside them
    world = World()
    world.members[b"mother-g0\0other-r1"] = b"\0\0"
    world.queues[b"bother-r1\0other-g0"] = b""
    # Then the check finds nothing, and has seen every binding and delivery of ours
    report = await world.report()
    assert report.ok
    assert (report.bindings, report.waiting, report.verdict.expected) == (3, 3, 3)
    assert report.examples == report.verdict.examples == []


async def test_what_a_reader_acked_counts_as_received() -> None:
    # Given resident 1 who read and acked
    world = World()
    del world.queues[b"i" + NAMES.queue(1).encode() + b"\0" + (4096).to_bytes(8, "big")]
    queue = NAMES.queue(1)
    world.readers[queue] = InboxReader(
        queue, [QueuedMessage(4096, NAMES.group(0), "m")], acked=4096
    )
    assert (await world.report()).ok


async def test_an_acked_delivery_that_is_there_again() -> None:
    # Given resident 1 who acked, and the row still in the inbox
    world = World()
    queue = NAMES.queue(1)
    world.readers[queue] = InboxReader(
        queue, [QueuedMessage(4096, NAMES.group(0), "m")], acked=4096
    )
    report = await world.report()
    assert not report.ok
    assert report.returned == 1


@pytest.mark.parametrize("table", ["members", "queues"])
async def test_a_binding_that_is_missing(table: str) -> None:
    # Given one table without one of its bindings
    world = World()
    for key in bound(1, 1):
        getattr(world, table).pop(key, None)
    report = await world.report()
    assert not report.ok
    assert report.wrong_bindings == 1
    assert table in report.examples[0]


@pytest.mark.parametrize("who", [(0, 0), (1, 0), (7, 0)])
@pytest.mark.parametrize("table", ["members", "queues"])
async def test_a_binding_too_many(table: str, who: tuple[int, int]) -> None:
    # Given a binding of one who left, of one who never joined, or of no group at all
    world = World()
    member, binding = bound(*who)
    if table == "members":
        world.members[member] = b"\0\0"
    else:
        world.queues[binding] = b""
    report = await world.report()
    assert not report.ok
    assert report.wrong_bindings == 1


async def test_a_delivery_that_is_missing_or_double() -> None:
    # Given an inbox without its message, and one with it under two seqs
    world = World()
    del world.queues[b"i" + NAMES.queue(2).encode() + b"\0" + (4096).to_bytes(8, "big")]
    world.deliver(1, 8192)
    verdict = (await world.report()).verdict
    assert (verdict.missing, verdict.duplicated, verdict.unexpected) == (1, 1, 0)
