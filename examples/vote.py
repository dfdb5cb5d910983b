"""A vote: the ballot box is a queue bound to a group; ballots are messages of one kind.

    python examples/vote.py [URL of a worker ...]

A ballot's id contains the voter, so voting twice counts once.
"""

import asyncio
import sys
import uuid
from collections import Counter

from streams.client import Client, Draft

POLL = f"poll-{uuid.uuid4()}"
VOTERS = 200


async def main() -> None:
    """Cast every vote twice, and count."""
    async with Client(*sys.argv[1:]) as client:
        await client.bind(POLL, f"urn-{POLL}")
        ballots = [
            Draft(
                "yes" if number % 3 else "no",
                group=POLL,
                sender=f"voter-{number}",
                kind="ballot",
                id=f"{POLL}/voter-{number}",
            )
            for number in range(VOTERS)
        ]
        await client.publish_many(ballots)
        await client.publish_many(ballots)
        await client.publish(POLL, "the poll is closed", kind="end")

        count: Counter[str] = Counter()
        async with client.subscribe(f"urn-{POLL}") as urn:
            async for delivery in urn:
                if delivery.kind == "end":
                    break
                count[delivery.text] += 1
    print(f"yes {count['yes']}, no {count['no']} of {VOTERS} voters")
    assert count.total() == VOTERS


asyncio.run(main())
