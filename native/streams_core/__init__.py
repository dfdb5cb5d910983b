"""The shared library of the native core; `streams.native` loads it."""

from __future__ import annotations

import os
from pathlib import Path


def library() -> Path:
    """Return where the library is; GROUP_STREAMS_CORE names another one, for tests of it."""
    other = os.environ.get("GROUP_STREAMS_CORE")
    return Path(other) if other else Path(__file__).parent / "libstreams_core.so"
