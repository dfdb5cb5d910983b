"""Compare the core with Python on random logs, for as long as you like.

`python native/fuzz.py [--sanitize] [--seconds N]`, in the environment of the tests.  With
`--sanitize` the core checks each access to memory and each calculation; a fault ends the run.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from compile import HERE, build, compiler

TESTS = HERE.parent / "tests" / "unit" / "native"


def _preloaded(command: list[str]) -> str:
    """Return the sanitizers' library, which must be loaded before Python's own."""
    found = [
        subprocess.run(
            [*command, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return " ".join(found)


def main() -> None:
    """Run until the time is over or something differs."""
    parser = argparse.ArgumentParser(description="Compare the core with Python on random logs.")
    parser.add_argument("--sanitize", action="store_true", help="check each access to memory")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    environment = os.environ | {"CORE_EXAMPLES": "1000"}
    rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        if options.sanitize:
            command, library = compiler(), Path(folder) / "core.so"
            build(command, library, sanitize=True)
            environment |= {
                "GROUP_STREAMS_CORE": str(library),
                "LD_PRELOAD": _preloaded(command),
                "ASAN_OPTIONS": "detect_leaks=0",  # Python leaves much to the end of the process
            }
        while time.monotonic() < end:
            seed = str(secrets.randbelow(1 << 32))
            arguments = ["-q", "-x", "-p", "no:cacheprovider", f"--hypothesis-seed={seed}", TESTS]
            done = subprocess.run([sys.executable, "-m", "pytest", *arguments], env=environment)
            if done.returncode:
                sys.exit(f"seed {seed}: exit {done.returncode}")
            rounds += 1
    print(f"{rounds} rounds of 1000 logs a test: no difference")


if __name__ == "__main__":
    main()
