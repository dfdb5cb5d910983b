from __future__ import annotations

from pathlib import Path

import pytest

from streams.cli.base import exit_code
from streams.cli.reset import reset
from streams.data_folder import DataFolder


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tables in a data folder."""
    monkeypatch.setenv("STREAMS_DATA", str(tmp_path))
    folder = tmp_path / "tables" / "streams"
    (folder / "members-0.db").mkdir(parents=True)
    return folder


def run() -> int:
    return exit_code(lambda: reset.execute_now(object.__new__(reset)))


def test_it_deletes_the_tables(tables: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert not tables.exists()
    assert capfd.readouterr().out == f"deleted {tables}\n"
    # And says so where there are none
    assert run() == 1
    assert "no tables of streams in " in capfd.readouterr().err


def test_it_deletes_nothing_under_a_live_process(
    tables: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with DataFolder(tables.parent.parent):
        assert run() == 1
    assert tables.exists()
    assert "is used by process " in capfd.readouterr().err
