"""The archive of Kafka's classes: made once, of a list, by a process of low priority."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streams.kafka.embedded import class_archive
from streams.kafka.embedded.class_archive import archive, listing, make, options

MAKES = "import sys; open(sys.argv[4].partition('=')[2], 'w').write(' '.join(sys.argv[1:]))"
FAILS = "import sys; print('no room'); sys.exit(3)"


@pytest.fixture
def classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of classes, with a Java and jars of its own."""
    modules = tmp_path / "java/lib/modules"
    jar = tmp_path / "kafka.jar"
    modules.parent.mkdir(parents=True)
    for file in (modules, jar):
        file.write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(class_archive, "java", lambda: tmp_path / "java/bin/java")
    monkeypatch.setattr(class_archive, "jars", lambda: [jar])
    listed = tmp_path / "classes"
    listed.write_text("java/lang/Object\n")
    return listed


def made(classes: Path, program: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Make the archive by a program; return whether there was something to do."""
    script = classes.with_suffix(".py")
    script.write_text(program)
    monkeypatch.setattr(class_archive, "_LOW_PRIORITY", (sys.executable, str(script)))
    thread = make(classes, ["java", "-XX:+UseSerialGC"])
    if thread is not None:
        thread.join(120)
        assert not thread.is_alive()
    return thread is not None


def test_the_first_start_lists_classes_and_later_ones_use_them(
    classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert options() == []
    assert listing(classes) == [f"-XX:DumpLoadedClassList={classes}"]

    assert made(classes, MAKES, monkeypatch)

    program, dump, seen, into, option = archive().read_text().split()
    assert (program, dump, option) == ("java", "-Xshare:dump", "-XX:+UseSerialGC")
    assert seen.startswith("-XX:SharedClassListFile=")
    assert into.startswith("-XX:SharedArchiveFile=")
    assert options() == [f"-XX:SharedArchiveFile={archive()}"]
    assert listing(classes) == []
    assert not made(classes, MAKES, monkeypatch)
    # and nothing else is left in its folder
    left = {path.suffix for path in archive().parent.iterdir()}
    assert left == {".jsa", ".lock"}


def test_another_java_has_another_archive(classes: Path) -> None:
    before = archive()
    os.utime(classes.parent / "java/lib/modules", (1, 1))
    assert archive() != before


def test_a_failure_is_written_down_and_not_tried_again(
    classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made(classes, FAILS, monkeypatch)

    assert archive().with_suffix(".failed").read_text() == "no room\n"
    assert options() == listing(classes) == []
    assert not made(classes, MAKES, monkeypatch)


def test_old_archives_go(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_archive, "KEPT", 2)
    for number in range(4):
        os.utime(classes.parent / "java/lib/modules", (number, number))
        assert made(classes, MAKES, monkeypatch)
    assert len(list(archive().parent.glob("*.jsa"))) == 2
    assert archive().exists()


def test_a_folder_that_cannot_be_written_is_no_error(
    classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive().parent.parent.mkdir(parents=True)
    archive().parent.write_text("in the way")
    assert made(classes, MAKES, monkeypatch)
    assert options() == []
