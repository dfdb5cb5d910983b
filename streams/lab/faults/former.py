"""The former version of Streams: made from the history of this repository, and run by workers.

The file `packaging/former-version` names its commit.  All schemas and the level of the folds
must be such that both versions can run side by side.

`python -m streams.lab.faults.former FOLDER` builds the wheels of that commit and unpacks them
below FOLDER; the faults use them if FAULTS_FORMER names the folder.  Without it they use the
files of the commit as they are, which needs no network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Final
from zipfile import ZipFile

from streams.errors import StreamsError

ROOT: Final = Path(__file__).resolve().parents[3]
NAMED_IN: Final = ROOT / "packaging" / "former-version"
FOLDER: Final = "FAULTS_FORMER"
"""Environment variable with the folder of the unpacked wheels."""


def commit() -> str:
    """Return the commit that the file names."""
    lines = NAMED_IN.read_text().splitlines()
    return next(line.split()[0] for line in lines if line and not line.startswith("#"))


def missing() -> str | None:
    """Return why the former version cannot be made here, or None if it can."""
    if os.environ.get(FOLDER):
        return None
    if not NAMED_IN.exists():
        return "this is no checkout of the repository"
    try:
        _git("cat-file", "-e", f"{commit()}^{{commit}}")
    except (OSError, subprocess.CalledProcessError):
        return f"the history here does not reach commit {commit()} (git fetch --unshallow)"
    return None


def environment(folder: Path) -> dict[str, str]:
    """Return the environment with which a Python process runs the former version.

    Args:
        folder: where to put its files, unless FAULTS_FORMER names them.

    Raises:
        StreamsError: such a process would run another version.
    """
    given = os.environ.get(FOLDER)
    place = Path(given).resolve() if given else folder / "former"
    if not given and not place.exists():
        _unpack(place)
    # Without PYTHONSAFEPATH, `python -m` looks for modules in the working directory first.
    found = {"PYTHONPATH": str(place), "PYTHONSAFEPATH": "1"}
    asked = subprocess.run(
        [sys.executable, "-c", "import streams.lab.faults.worker as w; print(w.__file__)"],
        env={**os.environ, **found},
        capture_output=True,
        text=True,
        check=False,
    )
    if not asked.stdout.strip().startswith(str(place)):
        raise StreamsError(f"the former version cannot be run: {asked.stdout}{asked.stderr}")
    return found


def build_wheels(folder: Path) -> None:
    """Build the wheels of the former version, as `make dist` does, and unpack them."""
    source, wheels = folder / "source", folder / "wheels"
    _unpack(source)
    for project in (source, source / "packaging" / "lab"):
        command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(wheels), str(project)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for wheel in sorted(wheels.glob("*.whl")):
        with ZipFile(wheel) as archive:
            archive.extractall(folder / "installed")
        print(f"{wheel.name} of {commit()[:12]}")


def _unpack(target: Path) -> None:
    """Write the files of the commit."""
    with tarfile.open(fileobj=BytesIO(_git("archive", "--format=tar", commit()))) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                path = target / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


def _git(*arguments: str) -> bytes:
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


if __name__ == "__main__":
    build_wheels(Path(sys.argv[1]))
