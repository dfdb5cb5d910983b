"""The last act of the demo: everything that stands in the tables against the model."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streams.events.codec import decode
from streams.events.records import Message
from streams.folds.row_keys import split_row_key
from streams.folds.tables import MEMBERS, QUEUES
from streams.lab.demo.readers import InboxReader
from streams.lab.workload.model import EXAMPLES, Model, QueuedMessage, Verdict, compare
from streams.lab.workload.population import Names, Population
from streams.operate.gateway_client import GatewayClient
from streams.operate.table_rows import pages

AT_ONCE = 3
"""Table partitions read at a time: while one page is checked, others are in transfer."""


@dataclass(slots=True)
class CheckReport:
    """What the check found."""

    verdict: Verdict = field(default_factory=Verdict)
    bindings: int = 0
    """Bindings that there must be."""
    wrong_bindings: int = 0
    """Those missing or too many, in either table."""
    returned: int = 0
    """Deliveries still in an inbox although their ack was confirmed."""
    waiting: int = 0
    """Deliveries in inboxes that nobody has read."""
    examples: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Tell whether the system kept its word."""
        return self.verdict.ok and not self.wrong_bindings and not self.returned

    def note(self, text: str) -> None:
        """Keep a finding as an example, if there is room."""
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


class TableCheck:
    """Compares one run's rows in both tables, and what was read, with the model."""

    def __init__(
        self,
        gateway: GatewayClient,
        partitions: int,
        population: Population,
        names: Names,
        model: Model,
    ) -> None:
        """Check what `model` says of the run whose ids are `names`."""
        self._gateway = gateway
        self._partitions = partitions
        self._population = population
        self._names = names
        self._model = model

    def total_bindings(self) -> int:
        """Return how many bindings the model says there are."""
        total = self._population.memberships
        for group in self._model.touched():
            number = self._names.group_number(group)
            total += len(self._model.bindings(group))
            total -= 0 if number is None else self._population.size(number)
        return total

    async def run(
        self, readers: Mapping[str, InboxReader], report_rows: Callable[[int], None]
    ) -> CheckReport:
        """Read every row of both tables once, and compare with the model."""
        report = CheckReport(bindings=self.total_bindings())
        received = {queue: list(reader.received) for queue, reader in readers.items()}
        found: Counter[str] = Counter()
        done = 0
        turns = asyncio.Semaphore(AT_ONCE)

        async def read(table: str, partition: int) -> None:
            nonlocal done
            async with turns:
                async for page in pages(self._gateway, table, partition):
                    for key, value in page.rows:
                        self._row(report, table, key, value, found, received, readers)
                    done += len(page.rows)
                    report_rows(done)

        await asyncio.gather(
            *(read(table, n) for table in (MEMBERS, QUEUES) for n in range(self._partitions))
        )
        for table in (MEMBERS, QUEUES):
            missing = report.bindings - found[table]
            if missing:
                report.wrong_bindings += missing
                report.note(f"{missing:,} bindings are missing in {table}")
        report.verdict = compare(self._model.received, received)
        return report

    def _row(
        self,
        report: CheckReport,
        table: str,
        key: bytes,
        value: bytes,
        found: Counter[str],
        received: dict[str, list[QueuedMessage]],
        readers: Mapping[str, InboxReader],
    ) -> None:
        row = split_row_key(table, key)
        match row.kind:
            case "member":
                self._binding(report, table, row.owner, str(row.detail), found)
            case "binding":
                self._binding(report, table, str(row.detail), row.owner, found)
            case "delivery":
                if self._names.resident(row.owner) is None:
                    return
                message = decode(value)
                assert isinstance(message, Message)
                assert isinstance(row.detail, int)
                received.setdefault(row.owner, []).append(
                    QueuedMessage(row.detail, message.group, message.id)
                )
                reader = readers.get(row.owner)
                if reader is not None and row.detail <= reader.acked:
                    report.returned += 1
                    report.note(
                        f"acked, but still in the inbox: seq {row.detail} in queue {row.owner}"
                    )
                elif reader is None:
                    report.waiting += 1
            case _:
                pass

    def _binding(
        self, report: CheckReport, table: str, group: str, queue: str, found: Counter[str]
    ) -> None:
        number, resident = self._names.group_number(group), self._names.resident(queue)
        if number is None and resident is None:
            return  # not from this run
        if self._is_bound(group, number, queue, resident):
            found[table] += 1
        else:
            report.wrong_bindings += 1
            report.note(f"{table} binds queue {queue} to group {group}, which no event requested")

    def _is_bound(self, group: str, number: int | None, queue: str, resident: int | None) -> bool:
        if group in self._model.touched():
            return queue in self._model.bindings(group)
        return (
            number is not None
            and resident is not None
            and self._population.is_member(number, resident)
        )
