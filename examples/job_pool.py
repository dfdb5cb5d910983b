"""A job pool: several consumers share a queue, and nobody does what another has done.

    python examples/job_pool.py [URL of a worker ...]

A job is leased; whoever fails gives it back, and what fails too often is a dead letter.
"""

import asyncio
import sys
import uuid
from collections import Counter

from streams.client import Client, Draft, Job

POOL = f"map-tiles-{uuid.uuid4()}"
DEAD = f"{POOL}-dead"
TILES = [f"tile {number}" for number in range(12)]
URGENT = "tile of the mayor"
BROKEN = "tile 5"


class BreakDownError(Exception):
    """A tile cannot be rendered."""


async def render(job: Job) -> None:
    """Render a tile; leaving the block acknowledges the job, an exception gives it back."""
    async with job:
        await asyncio.sleep(0.02)
        if job.text == BROKEN:
            raise BreakDownError(job.text)


async def work(client: Client, name: str, done: Counter[str], all_done: asyncio.Event) -> None:
    """Take one job after the other, for ever."""
    async for job in client.jobs(POOL, lease=30, consumer=name):
        try:
            await render(job)
        except BreakDownError:
            print(f"{name} failed at {job.text}, try {job.tries}")
        else:
            done[job.text] += 1
            if len(done) == len(TILES):  # all but the broken one, and the mayor's
                all_done.set()


async def main() -> None:
    """Render all tiles by three consumers, and see what became of the broken one."""
    done: Counter[str] = Counter()
    all_done = asyncio.Event()
    async with Client(*sys.argv[1:]) as client:
        await client.configure(POOL, max_tries=3, dead_letter=DEAD)
        await client.publish_many(Draft(tile, queue=POOL) for tile in TILES)
        await client.send(POOL, URGENT, priority=9)
        consumers = [
            asyncio.create_task(work(client, name, done, all_done)) for name in ("x", "y", "z")
        ]
        async with client.subscribe(DEAD) as dead_letters:
            dead = await anext(dead_letters)
        await all_done.wait()
        for consumer in consumers:
            consumer.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)
    tries = dead.headers["dead-letter-tries"]
    print(f"{dead.text} is a dead letter after {tries} tries")
    assert (dead.text, tries) == (BROKEN, "3")
    assert set(done) == {*TILES, URGENT} - {BROKEN}
    assert set(done.values()) == {1}
    print(f"{len(done)} tiles are done, each once")


asyncio.run(main())
