"""The format of a log folder: kept once it is made, and copied into other folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.kafka.embedded.formatting import (
    copy_format,
    is_formatted,
    keep_format,
    random_uuid,
)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log folder as the tool leaves it; nothing is kept yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "bootstrap.checkpoint").write_bytes(b"features")
    return folder


def test_without_a_kept_format_nothing_is_written(made: Path, tmp_path: Path) -> None:
    assert not copy_format(tmp_path / "log", "C" * 22, 1)
    assert not is_formatted(tmp_path / "log")


def test_a_kept_format_is_copied_with_the_names_of_cluster_and_node(
    made: Path, tmp_path: Path
) -> None:
    keep_format(made)

    assert copy_format(tmp_path / "log", "C" * 22, 7)

    assert is_formatted(tmp_path / "log")
    assert (tmp_path / "log/bootstrap.checkpoint").read_bytes() == b"features"
    lines = (tmp_path / "log/meta.properties").read_text().splitlines()
    values = dict(line.split("=") for line in lines)
    assert len(values.pop("directory.id")) == 22
    assert values == {"cluster.id": "C" * 22, "node.id": "7", "version": "1"}
    names = sorted(file.name for file in (tmp_path / "log").iterdir())
    assert names == ["bootstrap.checkpoint", "meta.properties"]


def test_an_empty_kept_format_is_none(made: Path, tmp_path: Path) -> None:
    (made / "bootstrap.checkpoint").write_bytes(b"")
    keep_format(made)

    assert not copy_format(tmp_path / "log", "C" * 22, 1)


def test_where_nothing_can_be_kept_nothing_is_said(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    keep_format(made)

    assert not copy_format(tmp_path / "log", "C" * 22, 1)


def test_an_id_is_22_characters_and_no_option() -> None:
    ids = {random_uuid() for _ in range(500)}
    assert len(ids) == 500
    assert {len(one) for one in ids} == {22}
    assert not any(one.startswith("-") for one in ids)
