"""Checks the wheels of `make dist` by installing them in empty virtual environments.

`check.py DIST` makes two: one with the client alone, which must not bring in what a worker
needs, and one with worker and lab, in which the command line must work and a worker must start.
Only the dependencies come from the package index; group-streams comes from DIST.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONLY_OF_WORKERS = {"faust-streaming", "mode-streaming", "aiokafka", "rocksdict", "confluent-kafka"}
START_SECONDS = 300.0  # a first start downloads Kafka
STOP_SECONDS = 60.0


class Environment:
    """A virtual environment with one of our wheels in it."""

    def __init__(self, folder: Path, dist: Path, *requirements: str) -> None:
        venv.create(folder, with_pip=True)
        self.folder = folder
        self.bin = folder / "bin"
        # Not from this checkout: `python -m pip` would find the package in the current folder.
        self.run(
            *("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--constraint", str(ROOT / "constraints.txt"), "--find-links", str(dist)),
            *requirements,
        )

    def run(self, program: str, *arguments: str, code: int = 0) -> str:
        """Run a program of the environment; return what it printed, on either stream."""
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != code:
            sys.exit(f"{program} {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}")
        return done.stdout

    def distributions(self) -> set[str]:
        """Return the names of everything that is installed."""
        listed = self.run("python", "-m", "pip", "list", "--format=freeze")
        return {line.partition("==")[0].lower().replace("_", "-") for line in listed.splitlines()}


def check_client(environment: Environment) -> None:
    """Check that the client works without what workers need, and the command line says so."""
    environment.run("python", "-c", "import streams.client; streams.client.Client('http://x')")
    extra = environment.distributions() & ONLY_OF_WORKERS
    if extra:
        sys.exit(f"the client alone must not install {', '.join(sorted(extra))}")
    said = environment.run("streams", "--help", code=1)
    if "group-streams[worker]" not in said or len(said.splitlines()) != 1:
        sys.exit(f"`streams` without a worker must say in one line what to install:\n{said}")


def check_worker(environment: Environment, lab: bool) -> None:
    """Check that the command line works, and that a worker starts and stops."""
    listed = environment.run("streams", "--help")
    names = {line.split()[0] for line in listed.splitlines() if line.startswith("  ")}
    if "worker" not in names or ("faults" in names) is not lab:
        sys.exit(f"`streams --help` lists the wrong commands:\n{listed}")
    if lab:
        environment.run("streams", "faults", "--list")
    else:
        said = environment.run("streams", "faults", "--list", code=1)
        if "group-streams[lab]" not in said:
            sys.exit(f"`streams faults` without the lab must say what to install:\n{said}")


def check_start(environment: Environment, native: str) -> None:
    """Start an embedded Kafka and a worker; they must get ready, and stop when asked."""
    log = environment.folder / "up.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [str(environment.bin / "streams"), "up"],
            cwd=environment.folder,
            env=os.environ
            | {"STREAMS_DATA": str(environment.folder / "data"), "STREAMS_NATIVE": native},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "worker-1 is ready" not in log.read_text():
            if running.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"`streams up` does not get ready:\n{log.read_text()}")
            time.sleep(0.2)
        running.send_signal(signal.SIGTERM)
        if running.wait(STOP_SECONDS) != 0:
            sys.exit(f"`streams up` did not stop cleanly:\n{log.read_text()}")
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()


def main(dist: Path) -> None:
    """Check the wheels in a folder."""
    (wheel,) = dist.glob("group_streams-*.whl")
    (lab_wheel,) = dist.glob("group_streams_lab-*.whl")
    with tempfile.TemporaryDirectory(prefix="streams-dist-") as folder:
        client = Environment(Path(folder, "client"), dist, str(wheel))
        check_client(client)
        print(f"{wheel.name}: the client works alone")
        worker = Environment(Path(folder, "worker"), dist, f"{wheel}[worker,embedded]")
        check_worker(worker, lab=False)
        check_start(worker, "off")
        print(f"{wheel.name}: the command line works, and a worker starts")
        worker.run(
            *("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--find-links", str(dist), "group-streams-core"),
        )
        check_start(worker, "on")
        print("group-streams-core: a worker starts with it")
        worker.run(
            *("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-index", "--find-links", str(dist), str(lab_wheel)),
        )
        check_worker(worker, lab=True)
        print(f"{lab_wheel.name}: adds its commands")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
