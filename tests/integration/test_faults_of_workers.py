"""Faults of workers: nothing is lost, and nothing comes twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from short_faults import OF_WORKERS, failures

pytestmark = [pytest.mark.slow, pytest.mark.fault]


@pytest.mark.parametrize("fault", OF_WORKERS)
def test_every_invariant_holds_after_a_fault(fault: str, tmp_path: Path) -> None:
    found = failures(fault, tmp_path / "faults")
    assert not found, "\n".join(found)
