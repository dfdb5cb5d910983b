"""When the token of a stream ends, and when acks are written."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from streams.gateway.auth.principal import ANONYMOUS, UNRESTRICTED, Principal
from streams.gateway.streaming import lifetime
from streams.gateway.streaming.ack_writer import ACKS_AT_ONCE, AckFields, AckWriter
from streams.gateway.streaming.lifetime import TokenLifetime


def expiring(seconds: float) -> Principal:
    permissions = replace(UNRESTRICTED.permissions, expires_at=time.time() + seconds)
    return Principal(permissions, "me")


async def ended(principal: Principal) -> str:
    """Return why the stream of a principal ends."""
    reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    TokenLifetime(reason.set_result).start(principal)
    async with asyncio.timeout(120):
        return await reason


async def test_a_stream_ends_with_its_token() -> None:
    assert await ended(expiring(0.05)) == "the token has expired"


async def test_a_stream_without_a_token_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifetime, "TOKEN_SECONDS", 0.0)
    assert await ended(ANONYMOUS) == "no token came"


async def test_an_expiry_further_off_than_a_timer_is_checked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lifetime, "_LONGEST_TIMER_SECONDS", 0.01)
    assert await ended(expiring(0.1)) == "the token has expired"


async def test_a_newer_token_prolongs_a_stream() -> None:
    # Given a stream whose token expires at once
    reasons: list[str] = []
    watched = TokenLifetime(reasons.append)
    watched.start(expiring(0.0))
    # When a newer one comes, Then the timer of the old one is gone
    watched.start(expiring(3600.0))
    await asyncio.sleep(0.05)
    assert reasons == []
    watched.stop()


async def test_acks_are_written_together() -> None:
    written: asyncio.Queue[tuple[str, AckFields]] = asyncio.Queue()
    acks = AckWriter(lambda queue, fields: written.put_nowait((queue, fields)))
    acks.add("q", 3, [])
    acks.add("q", 5, [])
    acks.add("p", None, [1, 2])
    assert written.empty()
    async with asyncio.timeout(120):
        assert await written.get() == ("q", {"upto": 5})
        assert await written.get() == ("p", {"seqs": [1, 2]})
    assert written.empty()


async def test_very_many_acks_do_not_wait() -> None:
    written: list[str] = []
    acks = AckWriter(lambda queue, fields: written.append(queue))
    acks.add("q", None, list(range(ACKS_AT_ONCE)))
    assert set(written) == {"q"}
