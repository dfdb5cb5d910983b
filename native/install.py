"""Install the core into the environment of this Python, if this machine can build it.

`make install` runs it.  Without a C++ compiler it fetches the one in the package `ziglang`.  If the
core cannot be built, it says so and succeeds: Streams runs without it, more slowly.
"""

from __future__ import annotations

import importlib
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from compile import HERE, NoCompiler, build, compiler, zig

ZIG = "ziglang==0.17.1"
_PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def _works(command: list[str]) -> bool:
    """Tell whether a compiler can build the core; its errors are not shown."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            build(command, Path(folder) / "core.so", quiet=True)
        except (NoCompiler, subprocess.CalledProcessError):
            return False
    return True


def _command() -> list[str]:
    """Return a compiler that works.

    Raises:
        NoCompiler
        subprocess.CalledProcessError: the package `ziglang` cannot be fetched.
    """
    try:
        command = compiler()
        if _works(command):
            return command
    except NoCompiler:
        pass
    print("native core: this machine has no C++ compiler; fetching the one in ziglang", flush=True)
    subprocess.run([*_PIP, ZIG], check=True)
    importlib.invalidate_caches()
    packaged = zig()
    if packaged is None or not _works(packaged):
        raise NoCompiler("the compiler in ziglang does not work here")
    return packaged


def main() -> None:
    """Build and install."""
    try:
        environment = os.environ | {"CXX": shlex.join(_command())}
        # Again even if this version is installed: its sources may have changed.
        subprocess.run(
            [*_PIP, "--no-deps", "--force-reinstall", str(HERE)], check=True, env=environment
        )
    except (NoCompiler, subprocess.CalledProcessError) as exc:
        print(f"native core: not built, Streams runs without it, more slowly: {exc}", flush=True)


if __name__ == "__main__":
    main()
