"""The admin client of `streams.kafka.topics` is destroyed by the thread that made it.

The garbage collector runs in whatever thread allocates, so also in the admin client's own, which
makes the results; librdkafka aborts a process that destroys a client there.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from streams.errors import Unavailable
from streams.kafka import topics
from streams.kafka.defaults import client_config

NOWHERE = client_config("127.0.0.1:1")


def test_an_admin_client_is_not_left_to_the_garbage_collector() -> None:
    admin = topics._Admin(NOWHERE)
    ended = weakref.ref(admin)
    gc.disable()
    try:
        del admin
        assert ended() is None
    finally:
        gc.enable()


def test_an_admin_client_is_there_until_it_has_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []

    class Admin(topics._Admin):
        def __init__(self, client: Any) -> None:
            super().__init__(client)
            made.append(weakref.ref(self))

    def result(request: str, future: Any) -> Any:
        gc.collect()
        assert made[0]() is not None
        raise Unavailable("there is no Kafka")

    monkeypatch.setattr(topics, "_Admin", Admin)
    monkeypatch.setattr(topics, "_result", result)
    with pytest.raises(Unavailable):
        topics.topic_ids(NOWHERE, ["a topic"])
