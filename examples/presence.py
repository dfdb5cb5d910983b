"""Presence: who is online, published to those who watch, even when a user just vanishes.

    python examples/presence.py [URL of a worker ...]

The client keeps a session with a ttl alive.  The group `presence:QUEUE` gets a message when a
session begins and when it ends.
"""

import asyncio
import json
import sys
import uuid

from streams.client import Client, SessionLost, Subscription

ALICE = f"alice-{uuid.uuid4()}"
BOB = f"bob-{uuid.uuid4()}"


async def state(deliveries: Subscription) -> str:
    """Return the next state of Alice that Bob receives."""
    told = json.loads((await anext(deliveries)).body)
    print(f"{told['queue'].split('-')[0]} is {told['state']}")
    return str(told["state"])


async def at_home(client: Client, opened: asyncio.Event) -> str | None:
    """Stay logged in until another session takes over; return its id."""
    try:
        async with client.session(ALICE, groups=["friends"], ttl=1.5):
            opened.set()
            await asyncio.sleep(60)
    except SessionLost as lost:
        return lost.by
    return None


async def main() -> None:
    """Watch Alice log in, log in elsewhere, and vanish."""
    async with Client(*sys.argv[1:]) as client:
        await client.bind(f"presence:{ALICE}", BOB)
        async with client.subscribe(BOB) as deliveries:
            # Logged in at home
            opened = asyncio.Event()
            home = asyncio.create_task(at_home(client, opened))
            await opened.wait()
            assert await state(deliveries) == "online"

            # Logged in elsewhere, by a machine that then goes silent
            await client.open_session(ALICE, "elsewhere", ["friends"], ttl=4.0)
            other = await home
            print(f"at home: {other} has taken over")
            assert other == "elsewhere"
            while await state(deliveries) != "offline":
                pass
        assert (await client.queue(ALICE)).session is None
        await client.unbind(f"presence:{ALICE}", BOB)


asyncio.run(main())
