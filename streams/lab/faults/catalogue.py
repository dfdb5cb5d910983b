"""All faults by their names, in the order of a full run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from streams.lab.faults.harness import FaultHarness
from streams.lab.faults.load import LoadPlan

Act = Callable[[FaultHarness], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its action, and the system it needs."""

    name: str
    what: str
    """One line of description."""
    act: Act
    """Injects the fault and repairs it, while the load continues."""
    workers: int = 2
    nodes: int = 1
    linked: bool = False
    short: bool = False
    """Whether a short run includes it."""
    ends_itself: bool = False
    """Whether a worker may exit by itself."""
    mix: bool = True
    """Whether the random mix may include it."""
    settings: dict[str, str] = field(default_factory=dict)
    prepare: Callable[[Path], Mapping[str, str]] = lambda folder: {}
    """Prepares it, with a folder for its files; returns more environment of all workers."""
    plan: Callable[[int], LoadPlan] = LoadPlan
    """Returns the load for a seed."""
    needs: Callable[[], str | None] = lambda: None
    """Returns why it cannot run on this machine, or None."""


FAULTS: dict[str, Fault] = {}


def fault(name: str, what: str, **options: object) -> Callable[[Act], Act]:
    """Register a function in the catalogue."""

    def enter(act: Act) -> Act:
        FAULTS[name] = Fault(name, what, act, **options)  # type: ignore[arg-type]
        return act

    return enter
