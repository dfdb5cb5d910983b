"""The status of all workers and partitions, as the workers report it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from streams.amounts import counted
from streams.errors import StreamsError, Unavailable
from streams.operate.gateway_client import GatewayClient
from streams.operate.stalls import PATH, report
from streams.stall_timer import StallTimer

PAUSE_SECONDS = 0.1
FIRST_SECONDS = 2.0
"""How long to retry the first request, so that a missing worker is reported soon."""
_CPU = "process_cpu_seconds_total"


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """The status of one table partition, from its owner."""

    table: str
    partition: int
    owner: str
    state: str
    position: int
    end: int
    checkpointed: int

    @property
    def lag(self) -> int:
        """Records of the source topic that are not yet folded."""
        return max(0, self.end - self.position)


class Cluster:
    """All workers of a system, discovered from the first known ones."""

    def __init__(self, gateway: GatewayClient) -> None:
        """Send requests through `gateway`; discovered workers are added to its URLs."""
        self._gateway = gateway
        self._cpu: dict[str, float] = {}
        self._cpu_used = 0.0

    async def find_workers(self) -> None:
        """Add the URLs of all workers that own a partition."""
        answer = await self._gateway.ask("GET", "/v1/cluster", retry_for=FIRST_SECONDS)
        owners = {row.get("owner") for row in answer["partitions"]}
        for owner in sorted(filter(None, owners)):
            if owner not in self._gateway.urls:
                self._gateway.urls.append(owner)

    async def partitions(self) -> dict[tuple[str, int], PartitionStatus]:
        """Return the table partitions that have an owner now, by table and number."""
        answers = await asyncio.gather(*(self._status(url) for url in self._gateway.urls))
        found: dict[tuple[str, int], PartitionStatus] = {}
        for url, answer in zip(self._gateway.urls, answers, strict=True):
            for row in answer.get("partitions", ()):
                if "state" in row:
                    status = _partition_status(url, row)
                    found[status.table, status.partition] = status
        return found

    async def cpu_seconds(self) -> float:
        """Return the CPU seconds that all workers have used since the first call.

        The time that a killed worker used after the last call is not counted.
        """
        for url in self._gateway.urls:
            try:
                text = await self._gateway.text("/metrics", url=url, retry_for=0)
            except Unavailable:
                continue
            for line in text.splitlines():
                if line.startswith(_CPU):
                    now = float(line.split()[1])
                    before = self._cpu.get(url, now)
                    self._cpu_used += now - before if now >= before else now
                    self._cpu[url] = now
        return self._cpu_used

    async def folded(
        self,
        table: str,
        ends: Mapping[int, int],
        timeout: float,
        report: Callable[[int], None] = lambda left: None,
    ) -> None:
        """Wait until a table's partitions have folded their source up to `ends`.

        `report` receives the number of records that are left.

        Raises:
            Unavailable: no progress for `timeout` seconds.
        """
        best = None
        stall = StallTimer(timeout)
        while True:
            partitions = await self.partitions()
            left = 0
            for number, end in ends.items():
                status = partitions.get((table, number))
                left += end if status is None else max(0, end - status.position)
            report(left)
            if left == 0:
                return
            best = left if best is None else min(best, left)
            if stall.is_stalled(best):
                raise Unavailable(
                    counted(
                        left,
                        f"record of the source of {table} is",
                        f"records of the source of {table} are",
                    )
                    + f" still not folded after {timeout:g} s without progress; see the workers'"
                    " logs\n" + await self.explain({f"the source of {table}": ends})
                )
            await asyncio.sleep(PAUSE_SECONDS)

    async def explain(self, ends: Mapping[str, Mapping[int, int]] | str) -> str:
        """Return what every worker is doing, for the error about a stall; see `report`."""
        answers = await asyncio.gather(*(self._internals(url) for url in self._gateway.urls))
        return report(dict(zip(self._gateway.urls, answers, strict=True)), ends)

    async def _internals(self, url: str) -> dict[str, Any] | str:
        try:
            answer: dict[str, Any] = await self._gateway.ask("GET", PATH, url=url, retry_for=0)
        except StreamsError as error:
            return str(error)
        return answer

    async def _status(self, url: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await self._gateway.ask(
                "GET", "/v1/cluster", url=url, retry_for=0
            )
        except Unavailable:
            return {}  # down or starting: its partitions have no owner for the moment
        return answer


def _partition_status(url: str, row: Mapping[str, Any]) -> PartitionStatus:
    return PartitionStatus(
        table=row["table"],
        partition=row["partition"],
        owner=row.get("owner") or url,
        state=row["state"],
        position=row.get("position") or 0,
        end=row.get("end") or 0,
        checkpointed=row.get("checkpointed") or 0,
    )
