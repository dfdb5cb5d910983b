"""The past: what was said before one came, read from the log or replayed into one's inbox.

    python examples/history.py [URL of a worker ...]

The log keeps messages for STREAMS_RETENTION_HOURS, whoever was bound when they were sent.
"""

import asyncio
import sys
import uuid
from datetime import UTC, datetime, timedelta

from streams.client import Client

ROOM = f"tavern-{uuid.uuid4()}"
LATE = f"late-{uuid.uuid4()}"


async def main() -> None:
    """Come late, and still know what was said."""
    async with Client(*sys.argv[1:]) as client:
        for text in ("the king is dead", "long live the king", "who pays the beer?"):
            placed = await client.publish(ROOM, text, sender="innkeeper")

        # Read: by offset, or by time, as many as one likes
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        said = [one["body"] async for one in client.history(ROOM, from_=hour_ago, limit=2)]
        assert said == ["the king is dead", "long live the king"]
        (last,) = [one async for one in client.history(ROOM, from_=placed.offset)]
        print(f"{last['sender']} said last: {last['body']}")

        # Replay: into an inbox, as if one had been there; twice is once
        assert await client.replay(ROOM, LATE) == 3
        await client.replay(ROOM, LATE)
        async with client.subscribe(LATE) as deliveries:
            for _ in range(3):
                one = await anext(deliveries)
                print(f"replayed from {one.headers['replay-group'].split('-')[0]}: {one.text}")
        assert (await client.queue(LATE)).depth == 0


asyncio.run(main())
