"""A job pool: several competing consumers share a queue of jobs.

    python examples/job_pool.py [URL of a worker ...]

Each job is leased to one consumer.  A failed job returns to the queue; after three tries it
becomes a dead letter.  For a single consumer, see `jobs.py`.
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


class RenderError(Exception):
    """A tile cannot be rendered."""


async def render(job: Job) -> None:
    """Render a tile.  The block acknowledges the job, or returns it to the queue if it raises."""
    async with job:
        await asyncio.sleep(0.02)
        if job.text == BROKEN:
            raise RenderError(job.text)


async def work(client: Client, name: str, done: Counter[str], all_done: asyncio.Event) -> None:
    """Take one job after another, until cancelled."""
    async for job in client.jobs(POOL, lease=30, consumer=name):
        try:
            await render(job)
        except RenderError:
            print(f"{name} failed at {job.text}, try {job.tries}")
        else:
            done[job.text] += 1
            if len(done) == len(TILES):  # without the broken one, but with the urgent one
                all_done.set()


async def main() -> None:
    """Render all tiles with three consumers, and find the broken one among the dead letters."""
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
    print(f"{len(done)} tiles done, each exactly once")


asyncio.run(main())
