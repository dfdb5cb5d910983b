"""A vote: an urn is a queue that is bound to a group; ballots are messages of a kind.

    python examples/vote.py [URL of a worker ...]

A ballot's id is made of the voter, so that voting twice counts once, whoever repeats it.
"""

import asyncio
import sys
import uuid
from collections import Counter

from streams.client import Client, Draft

POLL = f"poll-{uuid.uuid4()}"
VOTERS = 200


async def main() -> None:
    """Vote, each twice, and count."""
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
