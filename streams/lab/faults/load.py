"""The load during faults: messages, churn, sessions and consumers.

Clients send HTTP requests to any worker.  They repeat unanswered messages with the same id,
sometimes much later, sometimes twice at once.  One producer writes Avro directly to the log.
All answers are recorded in `evidence.Answers`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from streams.client.requests import path
from streams.lab.faults.change_writer import ChangeWriter
from streams.lab.faults.evidence import AckStep, Answers, ReadStep
from streams.lab.faults.probe_client import Answer, ProbeClient
from streams.lab.workload.model import QueuedMessage
from streams.settings import Settings

GIVE_UP_SECONDS = 40.0
"""How long a client repeats an event before its outcome counts as unknown."""
CLIENT_RATE = 8.0
"""Most requests a second of one client, which waits for each answer."""
PAUSE_SECONDS = 0.25
LIMIT = 500
WAIT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """The amount of load; rates are per second, for all clients together."""

    seed: int
    groups: int = 48
    queues: int = 240
    groups_per_queue: int = 3
    online: int = 32
    """Queues with a consumer; all other inboxes fill up."""
    posts: float = 30.0
    changes: float = 30.0
    direct_changes: float = 60.0
    direct_messages: float = 5.0
    sessions: float = 3.0
    body_bytes: int = 60
    crowd: int = 0
    """Additional queues that are bound to the first group, and never read."""
    late: float = 0.05
    """Share of direct changes that bind within a session, which may be closed already."""

    def times(self, factor: float) -> LoadPlan:
        """Return a plan with this many times the events per second."""
        return replace(
            self,
            posts=self.posts * factor,
            changes=self.changes * factor,
            direct_changes=self.direct_changes * factor,
            direct_messages=self.direct_messages * factor,
            sessions=self.sessions * factor,
        )


class LoadGenerator:
    """All clients of one system."""

    def __init__(
        self, settings: Settings, client: ProbeClient, answers: Answers, plan: LoadPlan
    ) -> None:
        self.answers = answers
        self.plan = plan
        self._client = client
        self._rng = random.Random(f"load {plan.seed}")
        self._direct = ChangeWriter(settings, answers)
        self._numbers = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._late: set[asyncio.Task[None]] = set()
        self._sending = True
        self._reading = True

    # For the suite ------------------------------------------------------------------

    async def begin(self) -> None:
        """Bind every queue to its first groups, and start all clients."""
        plan = self.plan
        for number in range(plan.queues):
            for group in self._rng.sample(range(plan.groups), plan.groups_per_queue):
                self._direct.change("Bind", f"g{group}", f"q{number}")
        for number in range(plan.crowd):
            while not self._direct.change("Bind", "g0", f"c{number}"):
                await asyncio.to_thread(self._direct.flush)
        await asyncio.to_thread(self._direct.flush)
        each: list[tuple[float, int, Callable[[], Awaitable[None]]]] = [
            (plan.posts, 6, self._post),
            (plan.changes, 4, self._change),
            (plan.direct_messages, 1, self._tell),
            (plan.sessions, 2, self._session),
        ]
        for rate, least, act in each:
            clients = max(least, math.ceil(rate / CLIENT_RATE))
            self._tasks += [
                asyncio.create_task(self._again_and_again(rate / clients, act))
                for _ in range(clients)
                if rate
            ]
        self._tasks.append(asyncio.create_task(self._write_directly()))
        for number in range(plan.online):
            self._tasks.append(asyncio.create_task(self._consume(f"q{number}")))

    async def stop_sending(self) -> None:
        """Let every sender finish its current request; consumers continue."""
        self._sending = False
        senders = self._tasks[: len(self._tasks) - self.plan.online]
        await asyncio.gather(*senders, *self._late)
        left = await asyncio.to_thread(self._direct.flush)
        self.answers.unknown += left

    async def stop_reading(self) -> None:
        """Let the consumers finish too."""
        self._reading = False
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raise the error that ended a client: a defect of this suite."""
        for task in self._tasks:
            if task.done() and not task.cancelled():
                task.result()

    async def until_confirmed(self, method: str, target: str, body: object = None) -> bool:
        """Send one more request, with the clients' retries; return whether it was confirmed."""
        return await self._until_known(lambda: self._client.ask(method, target, body))

    async def cancel(self) -> None:
        """Cancel all clients."""
        self._sending = self._reading = False
        for task in (*self._tasks, *self._late):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._late, return_exceptions=True)
        self._direct.close()

    # What clients do ----------------------------------------------------------------

    async def _again_and_again(self, rate: float, act: Callable[[], Awaitable[None]]) -> None:
        while self._sending:
            await asyncio.sleep(self._rng.expovariate(rate))
            if self._sending:
                await act()

    def _group(self) -> str:
        return f"g{self._rng.randrange(self.plan.groups)}"

    def _queue(self) -> str:
        return f"q{self._rng.randrange(self.plan.queues)}"

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    async def _post(self) -> None:
        group = self._group()
        await self._send(group, path("v1", "groups", group, "messages"))

    async def _tell(self) -> None:
        queue = self._queue()
        await self._send("@" + queue, path("v1", "queues", queue, "messages"))

    async def _send(self, group: str, target: str) -> None:
        """Publish, and sometimes publish a confirmed message again."""
        ident = f"m{self._number()}"
        body = {"id": ident, "sender": "faults", "body": "x" * self.plan.body_bytes}

        async def once() -> Answer:
            answer = await self._client.ask("POST", target, body)
            if answer.good:
                content = answer.content
                if not isinstance(content, dict) or content.get("id") != ident:
                    self.answers.dishonest.append(f"POST {target}: 201 with {content!r}")
                else:
                    place = (content["partition"], content["offset"])
                    self.answers.messages[place] = (group, ident)
            return answer

        async def later(seconds: float) -> None:
            await asyncio.sleep(seconds)
            await once()

        if self._rng.random() < 0.05:  # a proxy that sends twice
            self._detach(later(0.0))
        await self._until_known(once)
        if self._rng.random() < 0.05:  # a client that did not get its answer
            self._detach(later(self._rng.uniform(0, 8)))

    async def _change(self) -> None:
        group, queue = self._group(), self._queue()
        bind = self._rng.random() < 0.55
        kind, method = ("Bind", "PUT") if bind else ("Unbind", "DELETE")
        target = path("v1", "groups", group, "queues", queue)
        if await self._until_known(lambda: self._client.ask(method, target)):
            self.answers.changes[kind, group, queue] += 1

    async def _session(self) -> None:
        """Open or close a session; an opened one may replace one that is still open."""
        queue, session = self._session_of_a_queue()
        target = path("v1", "queues", queue, "sessions", session)
        if self._rng.random() < 0.6:
            groups = [self._group() for _ in range(self._rng.randrange(1, 5))]
            await self._until_known(lambda: self._client.ask("PUT", target, {"groups": groups}))
        else:
            await self._until_known(lambda: self._client.ask("DELETE", target))

    def _session_of_a_queue(self) -> tuple[str, str]:
        queue = f"s{self._rng.randrange(max(4, self.plan.queues // 8))}"
        return queue, f"session{self._rng.randrange(3)}"

    async def _until_known(self, once: Callable[[], Awaitable[Answer]]) -> bool:
        """Repeat a request until it is confirmed or refused; return whether it was confirmed."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        pause = PAUSE_SECONDS
        while True:
            answer = await once()
            if answer.good:
                self.answers.confirmed += 1
                return True
            if answer.refused:
                self.answers.refused += 1
                return False
            if time.monotonic() > deadline:
                self.answers.unknown += 1
                return False
            await asyncio.sleep(pause * self._rng.uniform(0.5, 1.5))
            pause = min(2.0, pause * 1.5)

    def _detach(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _write_directly(self) -> None:
        """Write changes directly to the log, in small bursts."""
        if not self.plan.direct_changes:
            return
        pause = 0.1
        owed = 0.0
        while self._sending:
            await asyncio.sleep(pause)
            owed += self.plan.direct_changes * pause
            while owed >= 1 and self._sending:
                owed -= 1
                if self._rng.random() < self.plan.late:
                    self._direct.change("Bind", self._group(), *self._session_of_a_queue())
                    continue
                kind = "Bind" if self._rng.random() < 0.5 else "Unbind"
                if not self._direct.change(kind, self._group(), self._queue()):
                    break
            self._direct.poll()

    # Consumers ----------------------------------------------------------------------

    async def _consume(self, queue: str) -> None:
        """Read and ack, like a client that sometimes forgets its position."""
        steps = self.answers.consumers.setdefault(queue, [])
        messages = path("v1", "queues", queue, "messages")
        acks = path("v1", "queues", queue, "acks")
        rng = random.Random(f"{queue} {self.plan.seed}")
        after = 0
        while self._reading:
            if rng.random() < 0.3:
                after = 0
            wait = WAIT_SECONDS if after else 0
            answer = await self._client.ask(
                "GET", f"{messages}?after={after}&limit={LIMIT}&wait={wait:g}"
            )
            if not answer.good:
                await asyncio.sleep(PAUSE_SECONDS * rng.uniform(0.5, 1.5))
                continue
            read = _read(after, answer)
            if read is None:
                self.answers.dishonest.append(f"GET {messages}: {answer.content!r:.200}")
                continue
            steps.append(read)
            if not read.deliveries:
                await asyncio.sleep(0.05 if after else 0.5)
                continue
            after = read.deliveries[-1].seq
            acking = _choose_acks(rng, read)
            if acking is not None:
                # recorded first: the ack may be folded at any time from here on
                steps.append(acking)
                one_by_one = {"seqs": list(acking.seqs)}
                body = one_by_one if acking.upto is None else {"upto": acking.upto}
                await self._client.ask("POST", acks, body)


def _read(after: int, answer: Answer) -> ReadStep | None:
    try:
        deliveries = tuple(
            QueuedMessage(int(message["seq"]), message["group"], message["id"])
            for message in answer.content["messages"]
        )
    except (KeyError, TypeError, ValueError):
        return None
    return ReadStep(after, deliveries, len(deliveries) < LIMIT)


def _choose_acks(rng: random.Random, read: ReadStep) -> AckStep | None:
    chance = rng.random()
    if chance < 0.6:
        return AckStep(read.deliveries[-1].seq)
    if chance < 0.85:
        seqs = tuple(delivery.seq for delivery in read.deliveries if rng.random() < 0.6)
        return AckStep(None, seqs) if seqs else None
    return None
