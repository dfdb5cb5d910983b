"""The state of the whole cluster: one worker asks all the others.

A worker that does not answer in time is listed as such, and its partitions are `unknown`.
Knows the form of `/v1/cluster`, not tables.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from streams import __version__
from streams.errors import Unavailable
from streams.folds import levels
from streams.gateway.cluster.proxy import Proxy
from streams.gateway.ports import Engine
from streams.gateway.reads.activity import Activity

PATH = "/v1/cluster?all=1"
ANSWER_SECONDS = 1.5
"""How long another worker may take; the response waits for the slowest one."""

_OF_WORKER = (
    "url",
    "version",
    "known_level",
    "started_at",
    "generation",
    "rebalancing",
    "ready",
    "not_ready",
    "holds",
    "failure",
    "standbys",
    "outputs_queued",
)


def worker_status(engine: Engine) -> dict[str, Any]:
    """Return the status of this worker, its version, and the highest level that it can fold."""
    return engine.status() | {"version": __version__, "known_level": levels.KNOWN}


class Overview:
    """Gathers the status of all workers."""

    def __init__(self, engine: Engine, proxy: Proxy, activity: Activity) -> None:
        self._engine = engine
        self._proxy = proxy
        self._activity = activity

    def own(self) -> dict[str, Any]:
        """Return the status and activity of this worker alone."""
        return worker_status(self._engine) | {
            "at": int(time.time() * 1000),
            "activity": self._activity.read(),
        }

    async def all(self, token: str) -> dict[str, Any]:
        """Return the status of all workers, asked with the client's own token.

        Each row of `partitions` comes from the partition's owner.  Its state is `unknown` if
        the owner does not answer, and `moving` until the owner starts to open the partition.
        """
        own = self.own()
        urls = sorted({str(row["owner"]) for row in own["partitions"] if row["owner"]})
        others = [url for url in urls if not self._proxy.is_self(url)]
        answers = await asyncio.gather(*(self._ask(url, token) for url in others))
        reported = {own["url"]: own, **dict(zip(others, answers, strict=True))}
        return {
            "app": own["app"],
            "url": own["url"],
            "at": own["at"],
            "workers": [_worker(url, reported[url]) for url in sorted(reported)],
            "partitions": _partitions(own["partitions"], list(reported.values())),
        }

    async def _ask(self, url: str, token: str) -> dict[str, Any]:
        try:
            return await self._proxy.ask(url, PATH, token, ANSWER_SECONDS)
        except Unavailable as error:
            return {"error": str(error)}


def _worker(url: str, reported: dict[str, Any]) -> dict[str, Any]:
    if "partitions" not in reported:
        return {"url": url, "answers": False, "error": reported["error"]}
    named = {name: reported.get(name) for name in _OF_WORKER}
    return named | {
        "url": url,
        "answers": True,
        "at": reported.get("at"),
        "activity": reported.get("activity"),
    }


def _partitions(
    assigned: list[dict[str, Any]], reported: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return one row per partition, from the worker that has it open."""
    answered = [answer for answer in reported if "partitions" in answer]
    urls = {answer["url"] for answer in answered}
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for answer in answered:
        for row in answer["partitions"]:
            key = row["table"], row["partition"]
            # Two workers may have a moving partition open: the one that is ready counts.
            if "state" in row and not (key in found and found[key]["ready"]):
                found[key] = row | {"owner": answer["url"]}
    rows = []
    for row in assigned:
        state = "moving" if row["owner"] is None or row["owner"] in urls else "unknown"
        missing = row | {"state": state, "ready": False}
        rows.append(found.get((row["table"], row["partition"]), missing))
    return rows
