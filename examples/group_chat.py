"""A group chat: two users log in, talk in a room, and one of them leaves.

    python examples/group_chat.py [URL of a worker ...]

Each user has a queue, which a session binds to the room.  Closing a session is one event,
however many rooms it has joined.
"""

import asyncio
import sys
import uuid

from streams.client import Client, Subscription

ROOM = f"room-{uuid.uuid4()}"


async def hear(name: str, deliveries: Subscription, count: int) -> list[str]:
    """Print what a user receives, until `count` messages have arrived."""
    heard: list[str] = []
    async for delivery in deliveries:
        print(f"{name} hears {delivery.sender}: {delivery.text}")
        heard.append(delivery.text)
        if len(heard) == count:
            break
    return heard


async def joined(client: Client, count: int) -> None:
    """Wait until the room has `count` members: bindings take effect shortly after the session."""
    while len([one async for one in client.members(ROOM)]) != count:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def main() -> None:
    """Have Alice and Bob meet."""
    alice, bob = f"alice-{ROOM}", f"bob-{ROOM}"
    async with Client(*sys.argv[1:]) as client:
        async with client.session(alice, groups=[ROOM]) as hers:
            async with client.session(bob, groups=[ROOM]), client.subscribe(bob) as his_ears:
                await joined(client, 2)
                await client.publish(ROOM, "hello, Bob", sender="alice")
                await client.publish(ROOM, "hello, Alice", sender="bob")
                assert await hear("bob", his_ears, 2) == ["hello, Bob", "hello, Alice"]
            await joined(client, 1)
            await client.publish(ROOM, "gone already?", sender="alice")
            async with hers.subscribe() as her_ears:
                assert len(await hear("alice", her_ears, 3)) == 3
        assert (await client.queue(bob)).depth == 0
    print("both received what was said while they were in the room")


asyncio.run(main())
