"""Faults of brokers: nothing is lost, and nothing comes twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from short_faults import OF_BROKERS, OF_DATA, OF_WORKERS, failures

from streams.lab.faults.choosing import choose

pytestmark = [pytest.mark.slow, pytest.mark.fault]


@pytest.mark.parametrize("fault", OF_BROKERS)
def test_every_invariant_holds_after_a_fault(fault: str, tmp_path: Path) -> None:
    found = failures(fault, tmp_path / "faults")
    assert not found, "\n".join(found)


def test_no_short_fault_is_left_out() -> None:
    short = [fault.name for fault in choose((), short=True)]
    assert sorted(short) == sorted((*OF_WORKERS, *OF_BROKERS, *OF_DATA))
