"""All faults by their names, in the order of a full run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from streams.lab.faults.harness import Harness
from streams.lab.faults.load import LoadPlan

Act = Callable[[Harness], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: what it does, and what system it needs."""

    name: str
    what: str
    """One line for the table."""
    act: Act
    """Does it and makes good for it; the load goes on meanwhile."""
    workers: int = 2
    nodes: int = 1
    linked: bool = False
    short: bool = False
    """Whether it belongs to the short version."""
    ends_itself: bool = False
    """Whether a worker may end by itself."""
    mix: bool = True
    """Whether it may be part of the random mix."""
    settings: dict[str, str] = field(default_factory=dict)
    plan: Callable[[int], LoadPlan] = LoadPlan
    """Makes the load from a seed."""
    needs: Callable[[], str | None] = lambda: None
    """Says why it cannot be done on this machine, or None."""


FAULTS: dict[str, Fault] = {}


def fault(name: str, what: str, **options: object) -> Callable[[Act], Act]:
    """Enter a function into the catalogue."""

    def enter(act: Act) -> Act:
        FAULTS[name] = Fault(name, what, act, **options)  # type: ignore[arg-type]
        return act

    return enter
