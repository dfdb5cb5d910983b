"""The table of a run: one line per fault."""

from __future__ import annotations

from collections.abc import Sequence

from streams.lab.faults import checker
from streams.lab.faults.suite import FaultResult

HEAD = (
    f"{'fault':<20} {'confirmed':>9} {'unknown':>7} {'expected':>8} {'found':>8} {'lost':>5}"
    f" {'twice':>5} {'extra':>5} {'order':>5} {'other':>5} {'stalled':>8} {'untouched':>9}"
    f" {'ready':>7}  verdict"
)
_SHOWN = (
    checker.LOST,
    checker.VANISHED,
    checker.DUPLICATED,
    checker.RETURNED,
    checker.EXTRA,
    checker.DISORDERED,
)


def line(result: FaultResult) -> str:
    """Return the line of one fault."""
    if result.skipped:
        return f"{result.fault:<20} skipped: {result.skipped}"
    other = sum(result.findings.counts.values()) - result.count(*_SHOWN)
    untouched = "" if result.untouched is None else f"{result.untouched:.1f} s"
    return (
        f"{result.fault:<20} {result.confirmed:>9,} {result.unknown:>7,}"
        f" {result.findings.expected:>8,} {result.findings.found:>8,}"
        f" {result.count(checker.LOST, checker.VANISHED):>5}"
        f" {result.count(checker.DUPLICATED, checker.RETURNED):>5}"
        f" {result.count(checker.EXTRA):>5} {result.count(checker.DISORDERED):>5} {other:>5}"
        f" {result.stalled:>6.1f} s {untouched:>9} {result.ready:>5.1f} s  {result.verdict}"
    )


def details(result: FaultResult) -> list[str]:
    """Return findings and notes, which do not fit on the line."""
    return [*result.findings.examples, *result.notes]


def summary(results: Sequence[FaultResult], seed: int) -> str:
    """Return the last line: totals, seed and failed faults."""
    failed = [result.fault for result in results if not result.ok]
    skipped = sum(result.skipped is not None for result in results)
    done = len(results) - skipped
    what = f"failed: {', '.join(failed)}" if failed else "all passed"
    return f"{done} faults, {skipped} skipped, seed {seed}: {what}"
