"""Direct messages: sent while the receiver is offline, read in two visits.

    python examples/direct_messages.py [URL of a worker ...]

A queue is durable whether or not anyone reads it.  Messages that were not acknowledged are
delivered again.
"""

import asyncio
import sys
import uuid

from streams.client import Client

CAROL = f"carol-{uuid.uuid4()}"


async def main() -> None:
    """Leave Carol three messages, and read them in two visits."""
    async with Client(*sys.argv[1:]) as client:
        for text in ("are you there?", "I have a plot to sell", "call me"):
            published = await client.send(CAROL, text, sender="dave")
            print(f"published {published.id}: {published.partition}/{published.offset}")

        async with client.subscribe(CAROL, auto_ack=False) as deliveries:
            first = await anext(deliveries)
            print(f"first visit: {first.sender}: {first.text}")
            await first.ack()

        async with client.subscribe(CAROL) as deliveries:
            rest = [(await anext(deliveries)).text for _ in range(2)]
        print("second visit:", *rest, sep="\n  ")
        assert rest == ["I have a plot to sell", "call me"]
        assert (await client.queue(CAROL)).depth == 0
    print("nothing was lost, nothing was delivered twice")


asyncio.run(main())
