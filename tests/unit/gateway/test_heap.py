"""Memory that connections no longer use, in a process of its own: glibc is set for good."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = 100
SCRIPT = f"""
import sys
from streams.gateway.http.memory import map_large_blocks

def resident():
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) for line in lines if "RssAnon" in line)

if sys.argv[1] == "mapped":
    map_large_blocks()
large = bytes(b"x" * 16_000_000)
del large  # after this, glibc would keep blocks of up to 16 MB in its heap
kept, pages, before = [], [], resident()
for number in range({COUNT}):
    pages.append(b"x" * 2_000_000)
    kept.append(b"x" * 20_000)  # the gaps between what is kept cannot go back
peak = resident()
del pages
print(peak - before, resident() - before)
"""


def _kib(how: str) -> tuple[int, int]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True
    )
    peak, left = map(int, done.stdout.split())
    return peak, left


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt") or not Path("/proc/self/status").exists(),
    reason="needs glibc on Linux",
)
def test_pages_of_many_clients_go_back_at_once() -> None:
    # Without it, the C library keeps them
    peak, left = _kib("as it is")
    assert peak > COUNT * 1800
    assert left > COUNT * 1000

    # With it, nothing of them is left
    peak, left = _kib("mapped")
    assert peak > COUNT * 1800
    assert left < COUNT * 100
