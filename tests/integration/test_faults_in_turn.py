"""Faults of workers, data and brokers: nothing is lost, and nothing comes twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from short_faults import ALONE, IN_TURN, failures_of, in_turn

from streams.lab.faults.choosing import choose

pytestmark = [pytest.mark.slow, pytest.mark.fault]


def test_every_invariant_holds_after_faults_in_turn(tmp_path: Path) -> None:
    found = failures_of(in_turn(IN_TURN), tmp_path / "faults")
    assert not found, "\n".join(found)


def test_no_short_fault_is_left_out() -> None:
    short = [fault.name for fault in choose((), short=True)]
    assert sorted(short) == sorted((ALONE, *IN_TURN))
