"""Adds the package `streams.lab`, which lies in the source tree of group-streams.

In a checkout it is two folders up; in an sdist of group-streams-lab it is beside this file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class LabPackage(BuildHookInterface[Any]):
    """Puts `streams/lab` into the sdist and the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Tell hatchling where the package is."""
        here = Path(self.root)
        bases = (here, here.parents[1])
        package = next(p for base in bases if (p := base / "streams" / "lab").is_dir())
        build_data["force_include"][str(package)] = "streams/lab"
