"""A fault of one worker: nothing is lost or comes twice, and the other's partitions go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from short_faults import ALONE, failures_of

from streams.lab.faults.choosing import choose

pytestmark = [pytest.mark.slow, pytest.mark.fault]


def test_every_invariant_holds_after_a_fault(tmp_path: Path) -> None:
    (fault,) = choose((ALONE,), short=False)
    found = failures_of(fault, tmp_path / "faults")
    assert not found, "\n".join(found)
