"""Compiles the core when a wheel of `group-streams-core` is built."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))
import compile  # noqa: A004 - the module beside this one


class Hook(BuildHookInterface):  # type: ignore[type-arg]
    """The build hook of hatchling.

    STREAMS_CORE_TARGET is a target of zig, and STREAMS_CORE_PLATFORM the platform tag of the wheel
    for it; without them, the wheel is for this machine.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the platform."""
        target = os.environ.get("STREAMS_CORE_TARGET", "")
        platform = os.environ.get("STREAMS_CORE_PLATFORM", "") or sysconfig.get_platform()
        compile.build(compile.compiler(), target=target)
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + platform.replace("-", "_").replace(".", "_")
        build_data["artifacts"] = ["streams_core/*.so"]
