"""Runs faults one by one, each on a fresh system, and checks the outcome."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.errors import StreamsError
from streams.lab.faults import checker
from streams.lab.faults.brokers import Brokers
from streams.lab.faults.catalogue import Fault
from streams.lab.faults.checker import Findings, check
from streams.lab.faults.evidence import TablePartition
from streams.lab.faults.gathering import gather, settle
from streams.lab.faults.harness import FaultHarness
from streams.lab.faults.load import LoadGenerator
from streams.lab.faults.probe_client import ProbeClient
from streams.lab.faults.securing import Security
from streams.operate.progress import say

PARTITIONS = 4
WARM_SECONDS = 3.0
AFTER_SECONDS = 3.0
"""How long the load continues once everything is ready again."""


@dataclass(slots=True)
class FaultResult:
    """One line of the table."""

    fault: str
    what: str
    findings: Findings = field(default_factory=Findings)
    confirmed: int = 0
    refused: int = 0
    unknown: int = 0
    stalled: float = 0.0
    """Longest time in seconds without progress of any partition."""
    untouched: float | None = None
    """The same for partitions that the fault did not affect; None if it affects all."""
    ready: float = 0.0
    """Seconds until everything was ready again after the fault was over."""
    seconds: float = 0.0
    stalls: dict[TablePartition, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: str | None = None

    def take(self, harness: FaultHarness) -> None:
        """Copy what the harness has counted."""
        answers, stalls = harness.answers, self.stalls
        self.confirmed, self.refused = answers.confirmed, answers.refused
        self.unknown = answers.unknown
        self.stalled = max(stalls.values(), default=0.0)
        untouched = [stalls.get(key, 0.0) for key in harness.untouched]
        self.untouched = round(max(untouched), 2) if untouched and stalls else None
        self.ready = harness.ready_seconds
        self.notes += harness.notes

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return self.findings.ok

    @property
    def verdict(self) -> str:
        """The verdict in one word."""
        return "skipped" if self.skipped else "ok" if self.ok else "FAILED"

    def count(self, *kinds: str) -> int:
        """Number of findings of these kinds."""
        return sum(self.findings.counts[kind] for kind in kinds)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "fault": self.fault,
            "what": self.what,
            "verdict": self.verdict,
            "confirmed": self.confirmed,
            "refused": self.refused,
            "unknown": self.unknown,
            "expected": self.findings.expected,
            "found": self.findings.found,
            "lost": self.count(checker.LOST, checker.VANISHED),
            "duplicated": self.count(checker.DUPLICATED, checker.RETURNED),
            "extra": self.count(checker.EXTRA),
            "out_of_order": self.count(checker.DISORDERED),
            "findings": dict(self.findings.counts),
            "examples": self.findings.examples,
            "seconds_without_progress": round(self.stalled, 2),
            "untouched_seconds_without_progress": self.untouched,
            "seconds_until_ready": round(self.ready, 2),
            "seconds": round(self.seconds, 1),
            "notes": self.notes,
            "skipped": self.skipped,
        }


class FaultSuite:
    """The brokers of a run, started when a fault first needs them; an async context manager."""

    def __init__(
        self, folder: Path, seed: int, *, times: float = 1.0, secure: bool = False
    ) -> None:
        """Prepare.

        Args:
            folder: for everything that is written.
            seed: of the load.
            times: the load, in multiples of the usual one.
            secure: whether Kafka and the gateways have TLS, and requests a token.
        """
        self.folder = folder
        self.seed = seed
        self.times = times
        self._security = Security(folder / "security") if secure else None
        self._brokers: dict[int, Brokers] = {}
        self._runs = 0

    async def __aenter__(self) -> FaultSuite:
        """Empty the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self._security is not None:
            self._security.make()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop the brokers."""
        for brokers in self._brokers.values():
            await brokers.stop()

    async def brokers(self, nodes: int) -> Brokers:
        """Return running brokers with that many nodes; stop any others."""
        for other, brokers in list(self._brokers.items()):
            if other != nodes:
                await brokers.stop()
                del self._brokers[other]
        if nodes not in self._brokers:
            self._brokers[nodes] = Brokers(
                self.folder / f"kafka-{nodes}-{self._runs}", nodes, self.seed, self._security
            )
        await self._brokers[nodes].start()
        return self._brokers[nodes]

    async def run(self, fault: Fault) -> FaultResult:
        """Run one fault under load, and check the outcome."""
        result = FaultResult(fault.name, fault.what, skipped=fault.needs())
        if result.skipped:
            return result
        began = time.monotonic()
        self._runs += 1
        harness = FaultHarness(
            await self.brokers(fault.nodes),
            self.folder / fault.name,
            f"f{self._runs}-{fault.name}",
            workers=fault.workers,
            partitions=PARTITIONS,
            linked=fault.linked,
            more={**fault.settings, **fault.prepare(self.folder)},
            security=self._security,
        )
        try:
            await self._play(fault, harness, result)
        except StreamsError as error:
            result.findings.note(checker.UNFINISHED, str(error))
        finally:
            await harness.stop()
            await asyncio.to_thread(_delete_topics, harness)
        result.take(harness)
        for worker in harness.workers:
            if any(code > 0 for code in worker.exit_codes) and not fault.ends_itself:
                text = f"{worker.name} ended by itself: {harness.say_ends(worker)}"
                result.findings.note(checker.UNFINISHED, text)
        ends = [f"{w.name} ended: {harness.say_ends(w)}" for w in harness.workers if w.exit_codes]
        result.notes += ends
        result.seconds = time.monotonic() - began
        if result.ok:
            for worker in harness.workers:
                shutil.rmtree(worker.folder, ignore_errors=True)
        return result

    async def _play(self, fault: Fault, harness: FaultHarness, result: FaultResult) -> None:
        answers = harness.answers
        seed = self.seed * 1000 + self._runs
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                ProbeClient(harness.urls, answers, seed, harness.settings)
            )
            asker = await stack.enter_async_context(
                ProbeClient(harness.urls, type(answers)(), seed, harness.settings)
            )
            await harness.start(asker)
            plan = fault.plan(seed).times(self.times)
            harness.load = LoadGenerator(harness.settings, client, answers, plan)
            stack.push_async_callback(harness.load.cancel)
            await harness.load.begin()
            await asyncio.sleep(WARM_SECONDS)
            harness.monitor.measure()
            await fault.act(harness)
            await asyncio.sleep(AFTER_SECONDS)
            stalls = harness.monitor.measured()
            if harness.monitor.rebalances:
                harness.notes.append(f"rebalanced {harness.monitor.rebalances} times")
            await harness.load.stop_sending()
            unfinished = [await settle(harness)]
            await harness.load.stop_reading()
            unfinished.append(await settle(harness))
            evidence = await gather(harness)
            evidence.stalls = result.stalls = stalls
            evidence.unfinished = [text for text in unfinished if text] + harness.broken
            result.findings = await asyncio.to_thread(check, evidence)


def _delete_topics(harness: FaultHarness) -> None:
    """Delete the run's topics, so that the brokers restart as fast after the next fault."""
    admin = AdminClient({"bootstrap.servers": harness.brokers.kafka.brokers, "log_level": 0})
    try:
        known = admin.list_topics(timeout=5).topics
        mine = [name for name in known if name.startswith(f"{harness.settings.namespace}.")]
        for deleted in admin.delete_topics(mine).values() if mine else ():
            deleted.result(10)
    except (KafkaException, TimeoutError):
        pass  # left-over topics do no harm


async def run_all(
    folder: Path,
    seed: int,
    faults: Sequence[Fault],
    show: Callable[[FaultResult], None],
    *,
    times: float = 1.0,
    secure: bool = False,
) -> list[FaultResult]:
    """Run faults ordered by the brokers they need; `show` receives each result.

    For `times` and `secure` see `FaultSuite`.
    """
    results = []
    async with FaultSuite(folder, seed, times=times, secure=secure) as suite:
        for fault in sorted(faults, key=lambda f: f.nodes):
            say(f"{fault.name}: {fault.what}")
            result = await suite.run(fault)
            show(result)
            results.append(result)
    return results
