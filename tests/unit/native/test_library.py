"""Whether the core is used, and what says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from twins import needs_core

from streams.engine import EngineOptions
from streams.errors import SettingsError
from streams.native import described, library, load
from streams.settings import Settings


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_load", lambda: (None, "it is not here"))


def test_it_is_not_used_when_it_is_off() -> None:
    assert load("off") is None
    assert described("off") == "off"


@needs_core
def test_it_is_used_where_it_is_built() -> None:
    assert load("auto") is load("on") is not None
    assert described("auto").startswith("in use (/")


@pytest.mark.usefixtures("absent")
def test_without_it_auto_goes_on_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert load("auto") is None
    assert "not in use (it is not here)" in caplog.text


@pytest.mark.usefixtures("absent")
def test_without_it_on_is_an_error() -> None:
    with pytest.raises(SettingsError, match="it is not here"):
        load("on")


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "core.so"
    file.write_bytes(b"no library")
    with pytest.raises(OSError, match=r"core\.so"):
        library.Library(file)


def test_the_setting() -> None:
    assert Settings.from_env({"STREAMS_NATIVE": "off"}).native == "off"
    with pytest.raises(SettingsError, match="auto, on, off"):
        Settings.from_env({"STREAMS_NATIVE": "perhaps"})
    with pytest.raises(SettingsError, match="auto, on, off"):
        EngineOptions(app_id="app", native="perhaps")


_NO_MEMORY = """
import resource
from types import SimpleNamespace

from streams.engine.native_rows import NativeRows
from streams.native import load

below = SimpleNamespace(get=None, get_many=None)
rows = NativeRows(below, load("on"))
value = b"v" * (64 << 20)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20),) * 2)
rows.put(b"b", b"s", value)
"""


@needs_core
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="asan maps too much")
def test_where_memory_ends_the_process_ends_and_says_so() -> None:
    done = subprocess.run([sys.executable, "-c", _NO_MEMORY], capture_output=True, text=True)
    assert done.returncode == -signal.SIGABRT
    assert "native core: no memory for 671088" in done.stderr
