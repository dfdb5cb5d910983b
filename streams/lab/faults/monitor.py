"""Polls a system under faults: owners, positions, and time without progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.lab.faults.evidence import TablePartition
from streams.lab.faults.probe_client import ProbeClient
from streams.operate.stalls import PATH, report

LOOK_SECONDS = 0.1
ANSWER_SECONDS = 2.0
STALE_SECONDS = 3.0
"""Age at which a worker's status is too old to count."""


@dataclass(slots=True)
class WorkerView:
    """The latest status of one worker."""

    at: float = 0.0
    ready: bool = False
    rows: dict[TablePartition, dict[str, Any]] = field(default_factory=dict)
    """Its own partitions, from /v1/cluster."""

    @property
    def fresh(self) -> bool:
        """Whether the status is recent enough to count."""
        return time.monotonic() - self.at < STALE_SECONDS


class ClusterMonitor:
    """Polls all workers."""

    def __init__(self, client: ProbeClient, tables: tuple[str, ...], partitions: int) -> None:
        self.every = [(table, number) for table in tables for number in range(partitions)]
        self.views: dict[str, WorkerView] = {}
        self.most_rss = 0
        """Largest resident memory of any worker so far, in bytes."""
        self._client = client
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._moved: dict[TablePartition, tuple[int, float]] = {}
        self._stalls: dict[TablePartition, float] = {}
        self._measuring = False
        self._generation = 0
        self._began_at = 0

    @property
    def rebalances(self) -> int:
        """How often the group rebalanced since `measure`."""
        return self._generation - self._began_at

    def add(self, url: str) -> None:
        """Monitor one more worker."""
        if url not in self._tasks:
            self.views[url] = WorkerView()
            self._tasks[url] = asyncio.create_task(self._look(url))

    def forget(self, url: str) -> None:
        """Stop monitoring a worker."""
        task = self._tasks.pop(url, None)
        if task is not None:
            task.cancel()
        self.views.pop(url, None)

    async def close(self) -> None:
        """Stop polling."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def measure(self) -> None:
        """Start to measure time without progress: from here on, every partition has work."""
        now = time.monotonic()
        self._moved = {key: (self._moved.get(key, (0, 0.0))[0], now) for key in self.every}
        self._stalls = dict.fromkeys(self.every, 0.0)
        self._measuring = True
        self._began_at = self._generation

    def measured(self) -> dict[TablePartition, float]:
        """End measuring; return the longest time without progress of each partition."""
        now = time.monotonic()
        if self._measuring:
            for key, (_, moved) in self._moved.items():
                self._stalls[key] = max(self._stalls.get(key, 0.0), now - moved)
        self._measuring = False
        return dict(self._stalls)

    def owners(self) -> dict[TablePartition, str]:
        """Return the URL of each partition's ready owner."""
        return {
            key: url
            for url, view in self.views.items()
            if view.fresh
            for key, row in view.rows.items()
            if row["ready"]
        }

    def is_ready(self, urls: list[str]) -> bool:
        """Return whether these workers are ready and own every partition."""
        if not all(self.views[url].ready and self.views[url].fresh for url in urls):
            return False
        owners = self.owners()
        return all(owners.get(key) in urls for key in self.every)

    def describe(self) -> str:
        """Return in one line what is not ready."""
        owners = self.owners()
        missing = [
            f"{table}/{number}" for table, number in self.every if (table, number) not in owners
        ]
        silent = [url for url, view in self.views.items() if not (view.fresh and view.ready)]
        return f"partitions without an owner: {missing}; workers not ready: {silent}"

    async def explain(self, ends: Mapping[str, Mapping[int, int]] | str) -> str:
        """Return what every worker is doing, for the message about a stall."""
        urls = list(self.views)
        answers = await asyncio.gather(
            *(self._client.ask("GET", PATH, url=url, seconds=ANSWER_SECONDS) for url in urls)
        )
        found = {
            url: answer.content
            if answer.good
            else f"status {answer.status}, {answer.content!r}"
            if answer.status
            else f"nothing within {ANSWER_SECONDS:g} s"
            for url, answer in zip(urls, answers, strict=True)
        }
        return report(found, ends)

    def positions(self) -> dict[TablePartition, int]:
        """Return the position of each partition."""
        return {key: position for key, (position, _) in self._moved.items()}

    async def _look(self, url: str) -> None:
        view = self.views[url]
        while True:
            began = time.monotonic()
            status = await self._client.ask("GET", "/v1/cluster", url=url, seconds=ANSWER_SECONDS)
            ready = await self._client.ask("GET", "/readyz", url=url, seconds=ANSWER_SECONDS)
            if status.good and isinstance(status.content, dict):
                view.at = began
                self._generation = max(self._generation, status.content.get("generation") or 0)
                view.ready = ready.good
                view.rows = {
                    (row["table"], row["partition"]): row
                    for row in status.content["partitions"]
                    if "state" in row
                }
                self._take(view)
                self._weigh(status.content.get("pid"))
            else:
                view.ready = False
            await asyncio.sleep(LOOK_SECONDS)

    def _take(self, view: WorkerView) -> None:
        now = time.monotonic()
        for key, row in view.rows.items():
            position, moved = self._moved.get(key, (-1, now))
            if row["position"] > position:
                if self._measuring:
                    self._stalls[key] = max(self._stalls.get(key, 0.0), now - moved)
                self._moved[key] = (row["position"], now)

    def _weigh(self, pid: int | None) -> None:
        try:
            text = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        for line in text.splitlines():
            if line.startswith("VmRSS:"):
                self.most_rss = max(self.most_rss, int(line.split()[1]) * 1024)
