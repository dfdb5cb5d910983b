"""Runs faults one after the other, each on a system of its own, and has them judged."""

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
from streams.lab.faults.catalogue import Fault
from streams.lab.faults.checker import Findings, check
from streams.lab.faults.client import Client
from streams.lab.faults.evidence import TablePartition
from streams.lab.faults.gathering import gather, settle
from streams.lab.faults.load import Load
from streams.lab.faults.rig import Rig
from streams.lab.faults.scene import Scene
from streams.operate.progress import say

PARTITIONS = 4
WARM_SECONDS = 3.0
AFTER_SECONDS = 3.0
"""How long the load goes on after everything is ready again."""


@dataclass(slots=True)
class Result:
    """One line of the table."""

    fault: str
    what: str
    findings: Findings = field(default_factory=Findings)
    confirmed: int = 0
    refused: int = 0
    unknown: int = 0
    stalled: float = 0.0
    """Longest time in which some partition did not go on."""
    untouched: float | None = None
    """The same of those partitions that the fault did not touch; None: it touches all."""
    ready: float = 0.0
    """Seconds until everything was ready again after the fault was over."""
    seconds: float = 0.0
    stalls: dict[TablePartition, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    skipped: str | None = None

    def take(self, scene: Scene) -> None:
        """Take over what the scene itself has counted."""
        answers, stalls = scene.answers, self.stalls
        self.confirmed, self.refused = answers.confirmed, answers.refused
        self.unknown = answers.unknown
        self.stalled = max(stalls.values(), default=0.0)
        untouched = [stalls.get(key, 0.0) for key in scene.untouched]
        self.untouched = round(max(untouched), 2) if untouched and stalls else None
        self.ready = scene.ready_seconds
        self.notes += scene.notes

    @property
    def ok(self) -> bool:
        """Whether the system kept its word."""
        return self.findings.ok

    @property
    def verdict(self) -> str:
        """One word."""
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


class Suite:
    """The rigs of a run, started when the first fault needs them; an async context manager."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self._rigs: dict[int, Rig] = {}
        self._scenes = 0

    async def __aenter__(self) -> Suite:
        """Empty the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop the brokers."""
        for rig in self._rigs.values():
            await rig.stop()

    async def rig(self, nodes: int) -> Rig:
        """Return the running brokers of that many nodes; others are stopped meanwhile."""
        for other, rig in list(self._rigs.items()):
            if other != nodes:
                await rig.stop()
                del self._rigs[other]
        if nodes not in self._rigs:
            self._rigs[nodes] = Rig(self.folder / f"kafka-{nodes}-{self._scenes}", nodes, self.seed)
        await self._rigs[nodes].start()
        return self._rigs[nodes]

    async def run(self, fault: Fault) -> Result:
        """Do one fault under load, and judge."""
        result = Result(fault.name, fault.what, skipped=fault.needs())
        if result.skipped:
            return result
        began = time.monotonic()
        self._scenes += 1
        scene = Scene(
            await self.rig(fault.nodes),
            self.folder / fault.name,
            f"f{self._scenes}-{fault.name}",
            workers=fault.workers,
            partitions=PARTITIONS,
            linked=fault.linked,
            more=fault.settings,
        )
        try:
            await self._play(fault, scene, result)
        except StreamsError as error:
            result.findings.note(checker.UNFINISHED, str(error))
        finally:
            await scene.stop()
            await asyncio.to_thread(_delete_topics, scene)
        result.take(scene)
        for worker in scene.workers:
            if any(code > 0 for code in worker.exit_codes) and not fault.ends_itself:
                text = f"{worker.name} ended by itself: {scene.say_ends(worker)}"
                result.findings.note(checker.UNFINISHED, text)
        ends = [f"{w.name} ended: {scene.say_ends(w)}" for w in scene.workers if w.exit_codes]
        result.notes += ends
        result.seconds = time.monotonic() - began
        if result.ok:
            for worker in scene.workers:
                shutil.rmtree(worker.folder, ignore_errors=True)
        return result

    async def _play(self, fault: Fault, scene: Scene, result: Result) -> None:
        answers = scene.answers
        seed = self.seed * 1000 + self._scenes
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(scene.urls, answers, seed))
            asker = await stack.enter_async_context(Client(scene.urls, type(answers)(), seed))
            await scene.start(asker)
            scene.load = Load(scene.settings, client, answers, fault.plan(seed))
            stack.push_async_callback(scene.load.cancel)
            await scene.load.begin()
            await asyncio.sleep(WARM_SECONDS)
            scene.watch.measure()
            await fault.act(scene)
            await asyncio.sleep(AFTER_SECONDS)
            stalls = scene.watch.measured()
            if scene.watch.rebalances:
                scene.notes.append(f"rebalanced {scene.watch.rebalances} times")
            await scene.load.stop_sending()
            unfinished = [await settle(scene)]
            await scene.load.stop_reading()
            unfinished.append(await settle(scene))
            evidence = await gather(scene)
            evidence.stalls = result.stalls = stalls
            evidence.unfinished = [text for text in unfinished if text] + scene.broken
            result.findings = await asyncio.to_thread(check, evidence)


def _delete_topics(scene: Scene) -> None:
    """Leave the brokers as they were, so that they start as fast after the next fault."""
    admin = AdminClient({"bootstrap.servers": scene.rig.kafka.brokers, "log_level": 0})
    try:
        known = admin.list_topics(timeout=5).topics
        mine = [name for name in known if name.startswith(f"{scene.settings.namespace}.")]
        for deleted in admin.delete_topics(mine).values() if mine else ():
            deleted.result(10)
    except (KafkaException, TimeoutError):
        pass  # they are in nobody's way


async def run_all(
    folder: Path, seed: int, faults: Sequence[Fault], show: Callable[[Result], None]
) -> list[Result]:
    """Run faults in the order of the rigs they need; `show` gets each result."""
    results = []
    async with Suite(folder, seed) as suite:
        for fault in sorted(faults, key=lambda f: f.nodes):
            say(f"{fault.name}: {fault.what}")
            result = await suite.run(fault)
            show(result)
            results.append(result)
    return results
