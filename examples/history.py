"""History: messages from before a queue was bound, read from the log or replayed into it.

    python examples/history.py [URL of a worker ...]

The log keeps messages for STREAMS_RETENTION_HOURS, no matter which queues were bound.
"""

import asyncio
import sys
import uuid
from datetime import UTC, datetime, timedelta

from streams.client import Client

ROOM = f"tavern-{uuid.uuid4()}"
LATE = f"late-{uuid.uuid4()}"


async def main() -> None:
    """Arrive late, and catch up."""
    async with Client(*sys.argv[1:]) as client:
        for text in ("the king is dead", "long live the king", "who pays the beer?"):
            published = await client.publish(ROOM, text, sender="innkeeper")

        # Read by time or by offset
        hour_ago = datetime.now(UTC) - timedelta(hours=1)
        said = [one["body"] async for one in client.history(ROOM, from_=hour_ago, limit=2)]
        assert said == ["the king is dead", "long live the king"]
        (last,) = [one async for one in client.history(ROOM, from_=published.offset)]
        print(f"{last['sender']} said last: {last['body']}")

        # Replay into a queue; replaying again adds nothing
        assert await client.replay(ROOM, LATE) == 3
        await client.replay(ROOM, LATE)
        async with client.subscribe(LATE) as deliveries:
            for _ in range(3):
                one = await anext(deliveries)
                print(f"replayed from {one.headers['replay-group'].split('-')[0]}: {one.text}")
        assert (await client.queue(LATE)).depth == 0


asyncio.run(main())
