"""Memory of rows in the core: it is used again, whatever the sizes."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest
from twins import Below, core, needs_core

from streams.engine.native_rows import NativeRows

pytestmark = [
    needs_core,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
    pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="asan keeps it back"),
]
SIZES = (0, 100, 1_000, 1_001, 1_100, 5_000)
"""Bytes of values, around the largest that shares a block with others."""
MOST = 12 << 20
"""Bytes that may be in use besides; if no small value were used again, these would be 20 MiB."""


def used() -> int:
    """Return the bytes of memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def change(rows: NativeRows, rounds: int) -> None:
    """Write rows of all sizes and replace them; delete most of them."""
    for number in range(rounds):
        for size in SIZES:
            suffix = b"%d" % size
            rows.put(b"b", suffix, b"v" * size)
            rows.put(b"b", suffix, b"w" * (size // 2))
            if number % 10:
                rows.delete(b"b", suffix)


def test_what_is_deleted_or_replaced_is_used_again() -> None:
    rows = NativeRows(Below(), core())
    change(rows, 100)
    before = used()
    change(rows, 10_000)
    assert used() - before < MOST


def test_what_is_saved_is_freed() -> None:
    rows = NativeRows(Below(), core())
    value = b"v" * 300

    def save(count: int) -> None:
        for _ in range(count):
            for number in range(5_000):
                rows.put(b"b", b"%d" % number, value)
            rows.put(b"b", b"large", value * 100)
            frozen = rows.freeze()
            rows.thaw()
            frozen.dispose()

    save(3)
    before = used()
    save(60)
    assert used() - before < MOST
