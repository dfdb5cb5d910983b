"""Build the wheels of the core: `python native/dist.py DIST`.

With the package `ziglang` it builds for the platforms below, with an old glibc; otherwise only for
this machine.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from compile import HERE, zig
from install import ZIG

PLATFORMS = {
    "manylinux_2_17_x86_64": "x86_64-linux-gnu.2.17",
    "manylinux_2_17_aarch64": "aarch64-linux-gnu.2.17",
}
"""Target of zig by tag of the wheel."""


def main(dist: str) -> None:
    """Build them, and the source distribution."""
    build = [sys.executable, "-m", "build", "--outdir", dist]
    subprocess.run([*build, "--sdist", str(HERE)], check=True)
    fetch = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ZIG]
    fetched = subprocess.run(fetch, check=False).returncode == 0
    command = zig()
    if not fetched or command is None:
        print(f"{ZIG} cannot be fetched: building the core for this machine only")
        subprocess.run([*build, "--wheel", str(HERE)], check=True)
        return
    for platform, target in PLATFORMS.items():
        environment = {
            "CXX": shlex.join(command),
            "STREAMS_CORE_TARGET": target,
            "STREAMS_CORE_PLATFORM": platform,
        }
        subprocess.run([*build, "--wheel", str(HERE)], check=True, env=os.environ | environment)


if __name__ == "__main__":
    main(sys.argv[1])
