"""What the engine does about clients of Kafka that answer nothing."""

from __future__ import annotations

from typing import Any

import pytest

from streams.engine import control
from streams.engine.control import Control
from streams.kafka.clients import open_admin
from streams.kafka.defaults import client_config

NOWHERE = client_config("127.0.0.1:9")
PARTITION = ("words", 0)


def test_a_client_that_misses_ends_for_long_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a client that no broker answers
    opened: list[Any] = []

    def opening(client: Any) -> Any:
        opened.append(open_admin(client))
        return opened[-1]

    monkeypatch.setattr(control, "open_admin", opening)
    monkeypatch.setattr(control, "ASK_SECONDS", 0.1)
    asking = Control(NOWHERE, "app", stopping=lambda: True)

    # When it misses ends for a short time, then it stays
    for _ in range(3):
        _, failures = asking.ends([PARTITION])
        assert PARTITION in failures
    assert len(opened) == 1

    # When it misses them for longer, then another one asks
    monkeypatch.setattr(control, "RENEW_SECONDS", 0.0)
    asking.ends([PARTITION])
    assert len(opened) == 2
    asking.close()
