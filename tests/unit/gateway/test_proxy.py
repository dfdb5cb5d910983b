"""Requests to another worker that is gone, told without one."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import cast

import pytest

from streams.errors import Unavailable
from streams.gateway.cluster.proxy import Proxy
from streams.gateway.metrics.registry import Metrics
from streams.repeats import RepeatFilter
from streams.settings import Settings


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a worker that is gone: its port is taken, and nobody listens there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_a_worker_that_is_gone_is_logged_once_not_for_each_request(
    nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    # Given the log as a worker writes it
    repeated = RepeatFilter()
    caplog.handler.addFilter(repeated)
    caplog.set_level(logging.INFO, "streams.gateway.cluster.proxy")
    proxy = Proxy(lambda: "http://127.0.0.1:1", cast(Metrics, None), Settings())
    await proxy.open()
    try:
        # When many clients want what that worker has
        for _ in range(50):
            with pytest.raises(Unavailable):
                await proxy.stream("", nobody, "/v1/stream")
    finally:
        await proxy.close()
        caplog.handler.removeFilter(repeated)
    # Then one line says so
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if text.startswith("no answer from the worker")]) == 1
