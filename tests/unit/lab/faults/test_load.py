"""The load of a fault run, in multiples of the usual one."""

from __future__ import annotations

from streams.lab.faults.choosing import choose
from streams.lab.faults.load import LoadPlan


def test_a_multiple_of_a_plan_has_more_events_and_the_same_world() -> None:
    plan = LoadPlan(7, posts=10, body_bytes=5)
    more = plan.times(4)
    assert (more.posts, more.direct_changes) == (40, 4 * plan.direct_changes)
    assert (more.seed, more.groups, more.online, more.body_bytes, more.late) == (
        7,
        plan.groups,
        plan.online,
        5,
        plan.late,
    )


def test_what_stands_still_is_part_of_a_full_run() -> None:
    names = {fault.name for fault in choose((), short=False)}
    assert {"suspended", "suspended-transaction", "suspended-restore", "starved"} <= names
