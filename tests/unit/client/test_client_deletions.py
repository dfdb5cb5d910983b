"""A subscription whose queues are deleted: what the iteration says, in which order."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from streams.client import Client, QueueDeleted, Subscription
from streams.client.requests import refused


class Connection:
    """The connection to a worker, whose frames the test makes up."""

    def __init__(self, *queues: str) -> None:
        self.queues = set(queues)
        self.sent: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append({"type": kind, **fields})

    def ack(self, queue: str, seqs: list[int]) -> None:
        self.sent.append({"type": "ack", "queue": queue, "seqs": seqs})


def subscribed(*queues: str) -> tuple[Subscription, Any]:
    """Return a subscription that one worker serves."""
    subscription = Client("http://127.0.0.1:1").subscribe(*queues)
    connection = cast(Any, Connection(*queues))
    for name in queues:
        queue = subscription._queues[name]
        subscription._subscribe(queue, connection)
        subscription._received(connection, {"type": "subscribed", "queue": name, "ref": queue.ref})
    subscription._start = lambda: None  # type: ignore[method-assign]
    return subscription, connection


def message(queue: str, seq: int) -> dict[str, Any]:
    return {
        **{"type": "message", "queue": queue, "seq": seq, "id": "i", "group": "g", "at": 1},
        **{"sender": "", "kind": "text", "headers": {}, "body": str(seq)},
    }


async def test_it_is_said_after_the_last_delivery_and_the_others_go_on() -> None:
    subscription, connection = subscribed("q", "r")
    subscription._received(connection, message("q", 1))
    subscription._received(connection, {"type": "deleted", "queue": "q"})
    assert connection.queues == {"r"}
    assert (await anext(subscription)).seq == 1
    with pytest.raises(QueueDeleted) as told:
        await anext(subscription)
    assert (told.value.queue, told.value.code) == ("q", "deleted")
    subscription._received(connection, message("q", 2))  # of nobody
    subscription._received(connection, message("r", 3))
    assert (await anext(subscription)).seq == 3


async def test_an_ack_that_was_not_confirmed_fails() -> None:
    subscription, connection = subscribed("q")
    subscription._received(connection, message("q", 1))
    acked = asyncio.create_task((await anext(subscription)).ack())
    await asyncio.sleep(0)
    subscription._received(connection, {"type": "deleted", "queue": "q"})
    with pytest.raises(QueueDeleted):
        await acked


async def test_a_deletion_before_the_subscription_is_not_its_end() -> None:
    subscription, connection = subscribed("q")
    queue = subscription._queues["q"]
    subscription._subscribe(queue, connection)
    subscription._received(connection, {"type": "deleted", "queue": "q"})
    assert subscription.queues == ["q"]


def test_a_refused_wait_says_so_too() -> None:
    error = refused(410, b'{"error":{"code":"deleted","message":"gone"}}')
    assert isinstance(error, QueueDeleted)
    assert (str(error), error.status, error.queue) == ("gone", 410, None)
