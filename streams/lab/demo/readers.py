"""Residents who are online: they wait for messages over HTTP, read them, and ack them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from streams.client.requests import path
from streams.errors import Unavailable
from streams.lab.demo.figures import Figures
from streams.lab.workload.model import QueuedMessage
from streams.lab.workload.population import Names, Population
from streams.operate.gateway_client import GatewayClient

WAIT_SECONDS = 20
LIMIT = 500


@dataclass(slots=True)
class InboxReader:
    """One resident's client, and everything it has received."""

    queue: str
    received: list[QueuedMessage] = field(default_factory=list)
    acked: int = 0
    """Every delivery up to this seq is acked, and Kafka has confirmed the ack."""
    known: set[tuple[str, str]] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


class InboxReaders:
    """The online residents of one run."""

    def __init__(
        self,
        gateway: GatewayClient,
        queues: Sequence[str],
        figures: Figures,
        sent_at: MutableMapping[str, float],
    ) -> None:
        """Create readers of `queues`; `sent_at` holds the send time of each message id."""
        self.by_queue: Mapping[str, InboxReader] = {queue: InboxReader(queue) for queue in queues}
        self._gateway = gateway
        self._figures = figures
        self._sent_at = sent_at
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start all readers."""
        self._tasks = [asyncio.create_task(self._read(r)) for r in self.by_queue.values()]

    async def stop(self) -> None:
        """Stop all readers; raise the error of one that failed."""
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def have_all(self, expected: Mapping[str, Sequence[tuple[str, str]]]) -> bool:
        """Tell whether every reader has, and has acked, as many messages as it is to get."""
        return all(
            len(reader.known) >= len(expected.get(queue, ()))
            and all(delivery.seq <= reader.acked for delivery in reader.received[-1:])
            for queue, reader in self.by_queue.items()
        )

    def check(self) -> None:
        """Raise what ended a reader early."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def _read(self, reader: InboxReader) -> None:
        messages = path("v1", "queues", reader.queue, "messages")
        acks = path("v1", "queues", reader.queue, "acks")
        after = 0
        while True:
            try:
                answer = await self._gateway.ask(
                    "GET",
                    f"{messages}?after={after}&limit={LIMIT}&wait={WAIT_SECONDS}",
                    wait=WAIT_SECONDS,
                )
                if not answer["messages"]:
                    continue
                after = self._take(reader, after, answer["messages"])
                await self._gateway.ask("POST", acks, {"upto": after})
                reader.acked = after
            except Unavailable:
                self._figures.unanswered += 1  # A worker may be away for long: keep asking.

    def _take(
        self, reader: InboxReader, after: int, messages: Sequence[Mapping[str, object]]
    ) -> int:
        now = time.monotonic()
        for message in messages:
            seq, group, name = message["seq"], str(message["group"]), str(message["id"])
            assert isinstance(seq, int)
            if seq <= after:
                reader.wrong.append(f"seq {seq} after {after} in queue {reader.queue}")
            after = max(after, seq)
            reader.received.append(QueuedMessage(seq, group, name))
            self._figures.read += 1
            if (group, name) in reader.known:
                self._figures.duplicated += 1
            reader.known.add((group, name))
            sent = self._sent_at.get(name)
            if sent is not None:
                self._figures.latencies.append(now - sent)
        return after


def choose_online(population: Population, names: Names, count: int, seed: int) -> list[str]:
    """Choose the queues of residents to be online: more likely those in large groups.

    A message goes to large groups more often, so these residents have something to read.
    """
    rng = random.Random(f"online {seed}")
    drawn = [
        population.membership(rng.randrange(population.memberships)) for _ in range(count * 20)
    ]
    weights = [population.size(group) ** 2 for group, _ in drawn]
    chosen: dict[int, None] = {}
    for _, resident in rng.choices(drawn, weights, k=count * 20):
        chosen[resident] = None
        if len(chosen) == count:
            break
    return [names.queue(resident) for resident in chosen]
