"""`streams export` and `streams import` before they ask Kafka for anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.backup import _target
from streams.cli.output import ReaderGone
from streams.cli.own_commands import ours
from streams.errors import StreamsError


def test_a_file_has_its_name_when_it_is_complete(tmp_path: Path) -> None:
    # Given a copy of yesterday
    target = tmp_path / "copy.avro"
    target.write_bytes(b"old")
    # When a new one fails
    with pytest.raises(StreamsError):
        _write_half(str(target))
    # Then the old one is still there, and nothing else
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [
        ("copy.avro", b"old")
    ]
    # When it ends
    with _target(str(target)) as out:
        out.write(b"whole")
    assert target.read_bytes() == b"whole"


def test_a_reader_that_has_gone_away_before_the_end_is_an_error() -> None:
    with pytest.raises(StreamsError, match="gone away"), _target("-"):
        raise ReaderGone


def _write_half(target: str) -> None:
    with _target(target) as out:
        out.write(b"half")
        raise StreamsError("Kafka does not answer")


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(ours, ["export", str(tmp_path / "no" / "copy.avro")])
    assert done.exit_code == 1
    assert "cannot write" in done.output
    assert "Traceback" not in done.output


def test_a_file_that_is_not_there_or_no_export_is_one_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(ours, ["import", str(tmp_path / "copy.avro")])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "cannot read" in done.output
    (tmp_path / "copy.avro").write_bytes(b"text")
    done = CliRunner().invoke(ours, ["import", str(tmp_path / "copy.avro")])
    assert (done.exit_code, done.output.count("\n")) == (1, 1)
    assert "no export" in done.output
