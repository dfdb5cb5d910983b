"""Compile the core: `python native/compile.py [--sanitize] [--target TRIPLE] [--output FILE]`.

Uses the standard library alone.  The compiler is the one that CXX names, else one of the machine's,
else the one in the package `ziglang`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = HERE / "streams_core" / "libstreams_core.so"
_FLAGS = ["-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-exceptions"]
_WARNINGS = ["-Wall", "-Wextra"]
_SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


class NoCompiler(Exception):
    """This machine has no C++ compiler."""


def zig() -> list[str] | None:
    """Return the compiler in the package `ziglang`, None if it is not installed.

    By its path, since the isolated environment in which pip builds does not have the package.
    """
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        return None
    return [str(Path(found.origin).parent / "zig"), "c++"]


def compiler() -> list[str]:
    """Return the command of a C++ compiler.

    Raises:
        NoCompiler
    """
    named = os.environ.get("CXX")
    if named:
        return shlex.split(named)
    for name in ("c++", "g++", "clang++"):
        path = shutil.which(name)
        if path is not None:
            return [path]
    packaged = zig()
    if packaged is not None:
        return packaged
    raise NoCompiler("no C++ compiler: install one, or `pip install ziglang`")


def build(
    command: list[str],
    output: Path = LIBRARY,
    target: str = "",
    sanitize: bool = False,
    quiet: bool = False,
) -> None:
    """Compile the library; a process that has the former one keeps it.

    Raises:
        NoCompiler: the compiler cannot be started.
        subprocess.CalledProcessError: it failed.
    """
    options = [*_FLAGS, *_WARNINGS]
    if sanitize:
        options += _SANITIZE
    elif (
        Path(command[0]).name != "zig" and sys.platform == "linux"
    ):  # zig links its own standard library
        options += ["-static-libstdc++", "-static-libgcc"]
    if target:
        options += ["-target", target]
    new = output.with_suffix(".new")
    try:
        subprocess.run(
            [*command, *options, "-o", str(new), str(HERE / "src" / "core.cpp")],
            check=True,
            stderr=subprocess.DEVNULL if quiet else None,
        )
    except OSError as exc:
        raise NoCompiler(f"{command[0]} cannot be started: {exc}") from exc
    new.replace(output)


def main() -> None:
    """Compile as the command line says."""
    parser = argparse.ArgumentParser(description="Compile the native core.")
    parser.add_argument("--output", type=Path, default=LIBRARY)
    parser.add_argument("--target", default="", help="for zig, such as x86_64-linux-gnu.2.17")
    parser.add_argument("--sanitize", action="store_true", help="check each access to memory")
    options = parser.parse_args()
    try:
        build(compiler(), options.output, options.target, options.sanitize)
    except (NoCompiler, subprocess.CalledProcessError) as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main()
