"""The demo, from the first bind to the verdict.

It loads the population, waits until both tables have it, plays the traffic in real time while
residents read, waits until everything is folded, and checks every row against the model.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from streams.client.requests import path
from streams.errors import Unavailable
from streams.events.records import Bind, Message, Unbind
from streams.folds.tables import MEMBERS, QUEUES
from streams.lab.demo.checking import CheckReport, TableCheck
from streams.lab.demo.figures import Board, Figures, Rates
from streams.lab.demo.journal import Journal, digest
from streams.lab.demo.producing import BIND, UNBIND, ChangeProducer
from streams.lab.demo.readers import InboxReaders, choose_online
from streams.lab.workload.model import Model
from streams.lab.workload.population import MEASURED, Names, Population
from streams.lab.workload.traffic import MemberJoined, MessageSent, Traffic, TrafficEvent
from streams.operate.cluster import Cluster
from streams.operate.gateway_client import GatewayClient
from streams.operate.progress import progress, say
from streams.operate.topic_log import TopicLog
from streams.settings import Settings
from streams.stall_timer import StallTimer

ONLINE = 500
"""Residents whose clients wait for messages; all other inboxes fill up."""
TICK_SECONDS = 0.02
PAUSE_SECONDS = 0.1
LOOK_SECONDS = 1.0
LATE_SECONDS = 10.0
"""A delivery this late counts as lost until it arrives."""
PATIENCE_SECONDS = 60.0
QUIET_SECONDS = 1.0
SETTLE_ROUNDS = 20
SECOND_LOOK_SECONDS = 5.0

Between = Callable[[], None]
"""Called about once a second while the demo runs; may raise an error to end it."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to play."""

    seconds: float
    """How long to play; 0 until Ctrl-C."""
    scale: float
    """Size of the world, in multiples of the measured one."""
    seed: int = 1


@dataclass(slots=True)
class DemoResult:
    """The result of a run."""

    plan: DemoPlan
    population: Population
    report: CheckReport
    figures: Figures
    workers: int = 0
    load_seconds: float = 0.0
    play_seconds: float = 0.0
    cpu_share: float = 0.0
    """CPU seconds of all workers per second of traffic."""
    behind_seconds: float = 0.0
    """How far the player fell behind its schedule, at most."""
    contradictions: list[str] = field(default_factory=list)
    """Confirmations that the log contradicts, and seqs that did not increase."""

    @property
    def lost(self) -> int:
        """Deliveries and confirmed events that are missing."""
        return self.report.verdict.missing + len(self.contradictions)

    @property
    def ok(self) -> bool:
        """Whether everything arrived exactly once and in order, and nothing else did."""
        return self.report.ok and not self.contradictions


async def play(
    settings: Settings, urls: list[str], plan: DemoPlan, between: Between = lambda: None
) -> DemoResult:
    """Play `plan` on the system of the workers at `urls`.

    Raises:
        StreamsError: no worker or no Kafka answers, or the system makes no progress.
    """
    async with GatewayClient(urls, settings) as gateway:
        return await _DemoRun(settings, gateway, plan, between).play()


class _DemoRun:
    def __init__(
        self, settings: Settings, gateway: GatewayClient, plan: DemoPlan, between: Between
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._plan = plan
        self._between = between
        self._cluster = Cluster(gateway)
        self._world = MEASURED.times(plan.scale)
        # the tag makes the ids of this run unique on the system
        self._names = Names(f"{int(time.time()):x}")
        self._figures = Figures()
        self._sent_at: dict[str, float] = {}
        self._posts: set[asyncio.Task[None]] = set()
        self._behind = 0.0

    async def play(self) -> DemoResult:
        """Play, and meanwhile call `between`, whose error ends the play."""
        playing = asyncio.create_task(self._play())
        minding = asyncio.create_task(self._mind())
        try:
            await asyncio.wait((playing, minding), return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                minding.result()
            return await playing
        finally:
            for task in (minding, playing):
                task.cancel()
            await asyncio.gather(minding, playing, return_exceptions=True)

    async def _mind(self) -> None:
        """Call `between` again and again: a worker may exit in any phase."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._between()

    async def _play(self) -> DemoResult:
        world, seed = self._world, self._plan.seed
        say(f"drawing a world of {world.residents:,} residents in {world.groups:,} groups")
        population = await asyncio.to_thread(Population.generate, world, seed)
        await self._cluster.find_workers()
        began = time.monotonic()
        await self._load(population)
        load_seconds = time.monotonic() - began

        names, figures = self._names, self._figures
        model = Model(self._members_at_start(population))
        journal = Journal(self._settings, model, names.tag + "-")
        online = choose_online(population, names, min(ONLINE, population.residents), seed)
        readers = InboxReaders(self._gateway, online, figures, self._sent_at)
        await asyncio.to_thread(journal.start)
        readers.start()
        try:
            figures.began = time.monotonic()
            cpu = figures.worker_cpu_seconds = await self._cluster.cpu_seconds()
            await self._traffic(population, journal, readers, model)
            play_seconds = time.monotonic() - figures.began
            cpu = await self._cluster.cpu_seconds() - cpu
            await self._finish(journal, readers, model)
        finally:
            await readers.stop()
            await asyncio.to_thread(journal.stop)
        report = await self._check(population, model, readers)
        wrong = [text for reader in readers.by_queue.values() for text in reader.wrong]
        return DemoResult(
            plan=self._plan,
            population=population,
            report=report,
            figures=figures,
            workers=len(self._gateway.urls),
            load_seconds=load_seconds,
            play_seconds=play_seconds,
            cpu_share=cpu / play_seconds,
            behind_seconds=self._behind,
            contradictions=journal.contradictions() + wrong,
        )

    def _members_at_start(self, population: Population) -> Callable[[str], Iterator[str]]:
        names = self._names

        def members(group: str) -> Iterator[str]:
            number = names.group_number(group)
            if number is not None:
                for resident in population.members(number):
                    yield names.queue(resident)

        return members

    async def _load(self, population: Population) -> None:
        total = population.memberships
        with progress("binding all members", total) as report:
            given_up = threading.Event()
            try:
                await asyncio.to_thread(self._bind_all, population, report, given_up)
            finally:
                given_up.set()
        groups, _ = await self._ends()
        with progress("routing the binds", total) as report:
            await self._cluster.folded(
                MEMBERS, groups, PATIENCE_SECONDS, lambda left: report(max(0, total - left))
            )
        _, queues = await self._ends()
        with progress("delivering the binds to the queues") as report:
            await self._cluster.folded(QUEUES, queues, PATIENCE_SECONDS)
            await self._settle()

    def _bind_all(
        self, population: Population, report: Callable[[int], None], given_up: threading.Event
    ) -> None:
        """Send a Bind for every membership, and wait until Kafka has them all."""
        producer = ChangeProducer(self._settings)
        names = self._names
        for group in range(population.groups):
            name = names.group(group)
            for resident in population.members(group):
                producer.change(BIND, name, names.queue(resident))
            if group % 256 == 0:
                if given_up.is_set():
                    return
                producer.poll()
                report(producer.confirmed)
        producer.flush()
        report(producer.confirmed)

    async def _traffic(
        self, population: Population, journal: Journal, readers: InboxReaders, model: Model
    ) -> None:
        """Play the traffic in real time."""
        traffic = Traffic(population, self._world, self._plan.seed).events()
        producer = ChangeProducer(self._settings)
        online = list(readers.by_queue)
        looking = asyncio.create_task(self._look(journal, model, online))
        began = time.monotonic()
        following = next(traffic)
        try:
            with _interrupted() as stopped:
                while not stopped():
                    now = time.monotonic() - began
                    if self._plan.seconds and now >= self._plan.seconds:
                        break
                    while following.at <= now:
                        self._behind = max(self._behind, now - following.at)
                        self._do(following, producer, journal)
                        following = next(traffic)
                    producer.poll()
                    self._figures.deliveries = journal.deliveries
                    readers.check()
                    if looking.done():
                        looking.result()
                    await asyncio.sleep(min(TICK_SECONDS, max(0.0, following.at - now)))
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        with progress("waiting for the last confirmations"):
            await asyncio.to_thread(producer.flush)
            for result in await asyncio.gather(*self._posts, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result

    def _do(self, event: TrafficEvent, producer: ChangeProducer, journal: Journal) -> None:
        group = self._names.group(event.group)
        queue = self._names.queue(event.resident)
        if isinstance(event, MessageSent):
            task = asyncio.create_task(self._publish(group, queue, journal))
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)
            return
        joined = isinstance(event, MemberJoined)
        change = Bind(group, queue) if joined else Unbind(group, queue)
        producer.change(
            BIND if joined else UNBIND,
            group,
            queue,
            lambda partition, offset: journal.confirmed(partition, offset, digest(change)),
        )
        self._figures.changes += 1

    async def _publish(self, group: str, sender: str, journal: Journal) -> None:
        number = len(self._sent_at) + 1
        message = Message(f"{self._names.tag}-m{number}", group, sender)
        self._sent_at[message.id] = time.monotonic()
        content = {
            "id": message.id,
            "sender": sender,
            "body": f"This is what number {number} has to say to everybody in {group}.",
        }
        try:
            answer = await self._gateway.ask(
                "POST", path("v1", "groups", group, "messages"), content
            )
        except Unavailable:
            self._figures.unanswered += 1  # it may have been written: the log will tell
            return
        journal.confirmed(answer["partition"], answer["offset"], digest(message))
        self._figures.messages += 1

    async def _look(self, journal: Journal, model: Model, online: list[str]) -> None:
        """Update the figures and display them."""
        figures = self._figures
        rates = Rates(figures)
        expected: deque[tuple[float, int]] = deque()
        tables = 2 * self._settings.partitions
        title = f"{self._plan.scale:g} times the measured world, {len(self._gateway.urls)} workers"
        with Board(title) as board:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                with journal.lock:
                    due = sum(len(model.received.get(queue, ())) for queue in online)
                expected.append((time.monotonic(), due))
                while expected[0][0] < time.monotonic() - LATE_SECONDS:
                    figures.late = max(0, expected.popleft()[1] - figures.read)
                partitions = await self._cluster.partitions()
                figures.note_lag([status.lag for status in partitions.values()], tables)
                figures.worker_cpu_seconds = await self._cluster.cpu_seconds()
                figures.deliveries = journal.deliveries
                rates.update()
                board.show(rates.rows())

    async def _finish(self, journal: Journal, readers: InboxReaders, model: Model) -> None:
        """Wait until everything is folded, and online residents have read all their messages."""
        with progress("waiting for the last deliveries"):
            groups, _ = await self._ends()
            await asyncio.to_thread(journal.reach, groups)
            await self._settle()
            for _ in range(round(LATE_SECONDS / PAUSE_SECONDS)):
                if readers.have_all(model.received):
                    break
                await asyncio.sleep(PAUSE_SECONDS)
            await readers.stop()
            await self._settle()  # for the last acks

    async def _check(
        self, population: Population, model: Model, readers: InboxReaders
    ) -> CheckReport:
        """Check the tables; if something is missing, check once more after a pause."""
        for last in (False, True):
            check = TableCheck(
                self._gateway, self._settings.partitions, population, self._names, model
            )
            with progress("checking every row of both tables") as show:
                report = await check.run(readers.by_queue, show)
            if report.ok or last:
                break
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            await self._settle()
        return report

    async def _settle(self) -> None:
        """Wait until both tables have folded everything, and no new records follow."""
        for _ in range(SETTLE_ROUNDS):
            groups, _ = await self._ends()
            await self._cluster.folded(MEMBERS, groups, PATIENCE_SECONDS)
            _, queues = await self._ends()
            await self._cluster.folded(QUEUES, queues, PATIENCE_SECONDS)
            await asyncio.sleep(QUIET_SECONDS)
            if await self._ends() == (groups, queues):
                return

    async def _ends(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return the present ends of `group-events` and `queue-events`."""

        def ask() -> tuple[dict[int, int], dict[int, int]]:
            with TopicLog(self._settings) as log:
                return log.ends(self._settings.group_events), log.ends(self._settings.queue_events)

        stall = StallTimer(PATIENCE_SECONDS)
        while True:
            try:
                return await asyncio.to_thread(ask)
            except Unavailable:  # Kafka is slow, or away for a moment
                if stall.is_stalled(None):
                    raise


@contextmanager
def _interrupted() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C (or SIGTERM) end the traffic instead of the program."""
    seen = False

    def note(number: int, frame: object) -> None:
        nonlocal seen
        seen = True
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: seen
    finally:
        restore()
