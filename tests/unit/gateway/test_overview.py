"""The overview of the cluster, from workers that answer and workers that do not."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from streams.errors import Unavailable
from streams.gateway.cluster.overview import Overview
from streams.gateway.cluster.proxy import Proxy
from streams.gateway.ports import Engine
from streams.gateway.reads.activity import Activity

A, B, C = "http://a:1", "http://b:1", "http://c:1"


def row(partition: int, owner: str | None, **own: Any) -> dict[str, Any]:
    return {"table": "queues", "partition": partition, "owner": owner, **own}


def status(url: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"app": "streams", "url": url, "started_at": 1, "partitions": list(rows)}


class Worker:
    """Worker A, with what it can see of the others."""

    def __init__(self, own: dict[str, Any], others: dict[str, dict[str, Any]]) -> None:
        self.own = own
        self.others = others
        self.asked: list[tuple[str, str]] = []

    def status(self) -> dict[str, Any]:
        return self.own

    def read(self) -> dict[str, Any]:
        return {"binds": 7}

    def is_self(self, url: str) -> bool:
        return url == A

    async def ask(self, url: str, path: str, token: str, seconds: float) -> dict[str, Any]:
        assert path == "/v1/cluster?all=1"
        assert seconds <= 2
        self.asked.append((url, token))
        await asyncio.sleep(0)
        if url not in self.others:
            raise Unavailable("it does not answer")
        return self.others[url]


async def overview(worker: Worker, token: str = "") -> dict[str, Any]:
    made = Overview(cast(Engine, worker), cast(Proxy, worker), cast(Activity, worker))
    return await made.all(token)


READY = {"state": "ready", "ready": True}


async def test_each_partition_is_shown_as_its_owner_reports() -> None:
    worker = Worker(
        status(A, row(0, A, **READY, lag=0), row(1, B)),
        {B: status(B, row(0, A), row(1, B, **READY, lag=5)) | {"activity": {"binds": 1}}},
    )

    whole = await overview(worker, "secret")

    assert worker.asked == [(B, "secret")]
    assert whole["partitions"] == [row(0, A, **READY, lag=0), row(1, B, **READY, lag=5)]
    assert [one["url"] for one in whole["workers"]] == [A, B]
    assert [one["activity"] for one in whole["workers"]] == [{"binds": 7}, {"binds": 1}]
    assert "secret" not in str(whole)


async def test_a_worker_that_does_not_answer_is_listed() -> None:
    whole = await overview(Worker(status(A, row(0, A, **READY), row(1, C)), {}))

    assert whole["workers"][1] == {"url": C, "answers": False, "error": "it does not answer"}
    assert whole["partitions"][1] == row(1, C, state="unknown", ready=False)


@pytest.mark.parametrize("owner", [None, B])
async def test_a_partition_that_no_worker_has_open_is_moving(owner: str | None) -> None:
    worker = Worker(status(A, row(0, B, **READY), row(1, owner)), {B: status(B, row(0, B))})

    whole = await overview(worker)

    assert whole["partitions"][1] == row(1, owner, state="moving", ready=False)


async def test_the_ready_worker_counts_when_two_have_a_partition_open() -> None:
    opening = {"state": "opening", "ready": False}
    worker = Worker(
        status(A, row(0, A, **opening), row(1, B, **READY)),
        {B: status(B, row(0, B, **READY), row(1, B, **opening))},
    )

    whole = await overview(worker)

    assert [one["owner"] for one in whole["partitions"]] == [B, A]
    assert all(one["ready"] for one in whole["partitions"])
