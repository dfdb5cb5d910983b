"""A work queue with one consumer at a time: each job is acknowledged when it is done.

    python examples/jobs.py [URL of a worker ...]

The first consumer crashes in the middle of a job; the second gets that job again.  For several
consumers at the same time, see `job_pool.py`.
"""

import asyncio
import sys
import uuid

from streams.client import Client, Draft

POOL = f"map-tiles-{uuid.uuid4()}"
TILES = 20


class RenderError(Exception):
    """A job failed."""


async def render(client: Client, done: list[str], *, breaks_at: str | None) -> None:
    """Do jobs until all are done, or crash at `breaks_at`."""
    async with client.subscribe(POOL, auto_ack=False, prefetch=4) as jobs:
        while len(done) < TILES:
            job = await anext(jobs)
            if job.text == breaks_at:
                raise RenderError(job.text)
            done.append(job.text)
            await job.ack()


async def main() -> None:
    """Render all tiles in spite of a crash."""
    tiles = [f"{number % 5}/{number // 5}" for number in range(TILES)]
    done: list[str] = []
    async with Client(*sys.argv[1:]) as client:
        await client.publish_many(Draft(tile, queue=POOL, kind="render") for tile in tiles)
        try:
            await render(client, done, breaks_at="2/1")
        except RenderError as error:
            print(f"crashed at {error} with {len(done)} done")
        await render(client, done, breaks_at=None)
        assert (await client.queue(POOL)).depth == 0
    assert sorted(done) == sorted(tiles)
    print(f"all {TILES} tiles done, each exactly once")


asyncio.run(main())
