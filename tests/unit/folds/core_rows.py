"""Runs the tests of a module twice: in Python alone, and with the native core where it is built.

Importing `rows_in` is enough.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from streams.engine.native_rows import NativeRows
from streams.engine.testing import MemoryRows
from streams.native import is_available, load


class CoreRows(NativeRows):
    """Rows in the core, with what tests need of `MemoryRows`."""

    def __init__(self, stored: MemoryRows | None = None) -> None:
        library = load("on")
        assert library is not None
        self._stored = MemoryRows() if stored is None else stored
        super().__init__(Stored(self._stored), library)

    def copy(self) -> CoreRows:
        """Return a copy that has all rows in its database."""
        stored = MemoryRows()
        for key, value in self.items():
            bucket, _, suffix = key.partition(b"\0")
            stored.put(bucket, suffix, value)
        return CoreRows(stored)

    def __len__(self) -> int:
        return sum(1 for _ in self.items())


def is_core(rows: object) -> bool:
    """Tell whether rows are in the core."""
    return isinstance(rows, CoreRows)


class Stored:
    """Rows in memory as a database."""

    def __init__(self, rows: MemoryRows) -> None:
        self._rows = rows

    def get(self, key: bytes) -> bytes | None:
        bucket, _, suffix = key.partition(b"\0")
        return self._rows.get(bucket, suffix)

    def get_many(self, keys: list[bytes]) -> list[bytes | None]:
        return list(map(self.get, keys))

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter([row for row in self._rows.items() if start <= row[0] < end])


@pytest.fixture(
    scope="module",
    autouse=True,
    params=[
        "python",
        pytest.param(
            "core", marks=pytest.mark.skipif(not is_available(), reason="the core is not built")
        ),
    ],
)
def rows_in(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have the tests of a module use rows of one kind."""
    modules: list[Any] = []
    if request.param == "core":
        module: ModuleType = request.module
        modules = [
            module,
            *(sys.modules[name] for name in ("feeding", "two_logs") if name in sys.modules),
        ]
        modules = [module for module in modules if hasattr(module, "MemoryRows")]
    for module in modules:
        module.__dict__["MemoryRows"] = CoreRows
    yield
    for module in modules:
        module.__dict__["MemoryRows"] = MemoryRows
