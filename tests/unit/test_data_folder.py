from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streams import child_process, data_folder
from streams.data_folder import LOCK, DataFolder, FolderInUse, owner
from streams.errors import StreamsError

HOLD = """
import sys, time
from pathlib import Path
from streams.data_folder import DataFolder
DataFolder(Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(300)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_folder_that_a_live_process_has_is_refused_by_its_number(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        with pytest.raises(FolderInUse, match=f"is used by process {process.pid}: stop it"):
            DataFolder(tmp_path).take()
        assert owner(tmp_path) == process.pid
    finally:
        process.kill()
        process.communicate()

    # Once it has died, however it died, the folder is free
    DataFolder(tmp_path).take()


def test_one_process_cannot_have_a_folder_twice(tmp_path: Path) -> None:
    with (
        DataFolder(tmp_path),
        pytest.raises(FolderInUse, match=f"used by process {os.getpid()}"),
        DataFolder(tmp_path),
    ):
        pass
    assert owner(tmp_path) is None


def test_the_children_of_a_process_that_died_are_waited_for(tmp_path: Path) -> None:
    # Given a child that has its parent's lock, and a parent that is dead
    folder = DataFolder(tmp_path)
    folder.take()
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(1)"], pass_fds=[folder.descriptor]
    )
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / LOCK).write_text(f"{dead.pid}\n")
    folder.give_up()

    # When the folder is taken, then the child has ended before
    DataFolder(tmp_path).take()
    assert child.wait() == 0


def test_deleting_the_file_does_not_free_the_folder(tmp_path: Path) -> None:
    with DataFolder(tmp_path):
        (tmp_path / LOCK).unlink()
        with pytest.raises(FolderInUse, match="is used by another process"):
            DataFolder(tmp_path).take()


def test_a_link_to_a_folder_is_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    with DataFolder(folder), pytest.raises(FolderInUse, match=f"used by process {os.getpid()}"):
        DataFolder(tmp_path / "link").take()


def test_a_child_that_outlives_the_owner_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a child that has the lock of its parent, which is dead, and a watcher that was killed
    monkeypatch.setattr(data_folder, "ENDING_SECONDS", 0.1)
    folder = DataFolder(tmp_path)
    folder.take()
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"], pass_fds=[folder.descriptor]
    )
    try:
        folder.shared_with([child.pid])
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        (tmp_path / LOCK).write_text(f"{dead.pid}\n{child.pid}\n")
        folder.give_up()
        # Then it is the child that is named, for it is what has to be stopped
        assert owner(tmp_path) == child.pid
        with pytest.raises(FolderInUse, match=f"is used by process {child.pid}: stop it"):
            DataFolder(tmp_path).take()
    finally:
        child.kill()
        child.wait()
    # And once it is stopped the folder is free
    DataFolder(tmp_path).take()


def test_a_file_system_that_locks_no_folders_locks_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a file system like NFS, which locks only what is open for writing
    flock = fcntl.flock

    def nfs(descriptor: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", nfs)
    with DataFolder(tmp_path), pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
        DataFolder(tmp_path).take()
    assert owner(tmp_path) is None


def test_a_file_with_nonsense_in_it_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_bytes(b"\xff 99999999999999999999 -1 x\n")
    with DataFolder(tmp_path):
        assert owner(tmp_path) == os.getpid()


def test_a_name_that_is_not_utf8_is_an_error_of_one_line(tmp_path: Path) -> None:
    assert data_folder.utf8(tmp_path / "W\udcc3\udcb6rld") == str(tmp_path / "Wörld")
    with pytest.raises(StreamsError, match=r"/W\\xf6rld: its name is not UTF-8"):
        data_folder.utf8(tmp_path / "W\udcf6rld")


def test_a_folder_is_emptied_but_for_its_lock(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "file").write_text("x")
    with DataFolder(tmp_path) as folder:
        folder.empty()
        assert [entry.name for entry in tmp_path.iterdir()] == [LOCK]


def test_a_folder_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StreamsError, match=r"cannot use folder .*: Not a directory"):
        DataFolder(tmp_path / "file" / "below").take()


# A parent that starts one child through `child_process`, says its id, and waits.
PARENT = """
import subprocess, sys, time
from streams import child_process, data_folder
child_process.KILL_SECONDS = 1.0
child = child_process.start([sys.executable, "-c", sys.argv[1]], output=subprocess.DEVNULL)
print(child.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(300)",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)",
    ],
    ids=["ends when asked to", "must be killed"],
)
def test_a_child_ends_with_its_parent(program: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, program], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert runs(pid)

    parent.kill()
    parent.communicate()

    deadline = time.monotonic() + 120
    while runs(pid):
        assert time.monotonic() < deadline, f"process {pid} outlives its parent"
        time.sleep(0.05)


def test_a_child_has_the_id_that_its_parent_knows_and_its_exit_code(tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output:
        child = child_process.start(
            [sys.executable, "-c", "import os, sys; print(os.getpid()); sys.exit(7)"],
            output=output,
        )
        assert child.wait() == 7
    assert (tmp_path / "output").read_text() == f"{child.pid}\n"


def test_a_watcher_keeps_no_file_of_the_child(tmp_path: Path) -> None:
    # Given a child that inherits the lock of a folder, and has ended
    folder = DataFolder(tmp_path)
    folder.take()
    child = child_process.start(
        [sys.executable, "-c", ""], output=subprocess.DEVNULL, pass_fds=[folder.descriptor]
    )
    child.wait()
    folder.give_up()

    # Then nobody holds it: a watcher that did would have been there a moment longer
    DataFolder(tmp_path).take()


def runs(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
