"""The whole cluster in one answer: what each worker says of itself, asked by one of them.

A worker that does not answer in time is named as such; its partitions are then `unknown`.
Knows the form of `/v1/cluster`, nothing of tables.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from streams.errors import Unavailable
from streams.gateway.cluster.proxy import Proxy
from streams.gateway.ports import Engine
from streams.gateway.reads.activity import Activity

PATH = "/v1/cluster?all=1"
ANSWER_SECONDS = 1.5
"""How long another worker may take; the answer waits for the slowest of them."""

_OF_WORKER = (
    "url",
    "started_at",
    "generation",
    "rebalancing",
    "ready",
    "failure",
    "standbys",
    "outputs_queued",
)


class Overview:
    """Gathers what all workers say."""

    def __init__(self, engine: Engine, forwarding: Proxy, activity: Activity) -> None:
        self._engine = engine
        self._forwarding = forwarding
        self._activity = activity

    def own(self) -> dict[str, Any]:
        """Return this worker's status, and what it has been doing, alone."""
        return self._engine.status() | {
            "at": int(time.time() * 1000),
            "activity": self._activity.read(),
        }

    async def all(self, token: str) -> dict[str, Any]:
        """Return what all workers say; they are asked with the caller's own credentials.

        `partitions` has the row of each partition's owner; the state is `unknown` without an
        answer from it, and `moving` as long as it has not begun to open the partition.
        """
        own = self.own()
        urls = sorted({str(row["owner"]) for row in own["partitions"] if row["owner"]})
        others = [url for url in urls if not self._forwarding.is_self(url)]
        answers = await asyncio.gather(*(self._ask(url, token) for url in others))
        told = {own["url"]: own, **dict(zip(others, answers, strict=True))}
        return {
            "app": own["app"],
            "url": own["url"],
            "at": own["at"],
            "workers": [_worker(url, told[url]) for url in sorted(told)],
            "partitions": _partitions(own["partitions"], list(told.values())),
        }

    async def _ask(self, url: str, token: str) -> dict[str, Any]:
        try:
            return await self._forwarding.ask(url, PATH, token, ANSWER_SECONDS)
        except Unavailable as error:
            return {"error": str(error)}


def _worker(url: str, told: dict[str, Any]) -> dict[str, Any]:
    if "partitions" not in told:
        return {"url": url, "answers": False, "error": told["error"]}
    named = {name: told.get(name) for name in _OF_WORKER}
    return named | {
        "url": url,
        "answers": True,
        "at": told.get("at"),
        "activity": told.get("activity"),
    }


def _partitions(assigned: list[dict[str, Any]], told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one row of each partition, from the worker that has it open."""
    answered = [answer for answer in told if "partitions" in answer]
    urls = {answer["url"] for answer in answered}
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for answer in answered:
        for row in answer["partitions"]:
            place = row["table"], row["partition"]
            # While it moves, two may have it open: the one that answers reads counts.
            if "state" in row and not (place in found and found[place]["ready"]):
                found[place] = row | {"owner": answer["url"]}
    rows = []
    for row in assigned:
        state = "moving" if row["owner"] is None or row["owner"] in urls else "unknown"
        missing = row | {"state": state, "ready": False}
        rows.append(found.get((row["table"], row["partition"]), missing))
    return rows
