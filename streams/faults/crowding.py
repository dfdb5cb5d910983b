"""Much at once: messages to a large group, large bodies, sessions that all close together.

What comes of these goes ways of its own: a message to a large group takes the second lane,
in parts; a large body is one row that inboxes share; and the Unbinds of many sessions are
sent evenly, after everything else.  Workers are killed while all that is under way.
"""

from __future__ import annotations

import asyncio
import signal

from streams.commands.client import path
from streams.commands.topiclog import TopicLog
from streams.faults.catalogue import fault
from streams.faults.load import Plan
from streams.faults.scene import Scene
from streams.folds.delivery import SHARED_FROM
from streams.folds.fans import LARGEST

CROWD = 3 * LARGEST
KILLS = 3
SESSIONS = 2_500
GROUPS_EACH = 6
AT_ONCE = 50
CLEARING_SECONDS = 120.0


@fault(
    "crowd",
    f"workers killed while bodies of {SHARED_FROM + 1:,} bytes go to a group of {CROWD:,}",
    plan=lambda seed: Plan(
        seed, posts=16, groups=8, queues=80, crowd=CROWD, body_bytes=SHARED_FROM + 1
    ),
    mix=False,
)
async def crowd(scene: Scene) -> None:
    """Parts of a message, some written and some not, when the worker ends."""
    for _ in range(KILLS):
        for worker in scene.workers:
            worker.signal(signal.SIGKILL)
            await scene.until_ready(1.0)
            await asyncio.sleep(1)


@fault(
    "all-close",
    f"{SESSIONS:,} sessions closed at once, all workers killed while bindings are cleared away",
    mix=False,
)
async def all_close(scene: Scene) -> None:
    """The worker ends between the Close and the last of the Unbinds that come of it."""
    groups = scene.load.plan.groups
    names = [f"w{number}" for number in range(SESSIONS)]

    async def each(method: str) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            wanted = [f"g{(number + 7 * n) % groups}" for n in range(GROUPS_EACH)]
            target = path("v1", "queues", names[number], "sessions", "wave")
            body = {"groups": wanted} if method == "PUT" else None
            async with turns:
                known = await scene.load.until_confirmed(method, target, body)
            scene.expect(known, f"{method} {target} was not confirmed")

        await asyncio.gather(*map(one, range(SESSIONS)))

    await each("PUT")
    bound = len(names) * GROUPS_EACH
    before = await asyncio.to_thread(_length, scene)
    await each("DELETE")
    for worker in scene.workers:
        worker.signal(signal.SIGKILL)
    done = await asyncio.to_thread(_length, scene) - before
    scene.notes.append(f"{done:,} group events in the log of about {bound:,} when it was killed")
    await scene.until_ready(1.0)


def _length(scene: Scene) -> int:
    with TopicLog(scene.settings) as log:
        return sum(log.ends(scene.settings.group_events).values())
