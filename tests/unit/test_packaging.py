"""Packaging: pinned versions, extras, entry points, and the targets of the Makefile."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import streams

ROOT = Path(__file__).parents[2]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    return {_plain(name): version for name, version in (pin.split("==") for pin in pins)}


def _required() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(r for extra in extras.values() for r in extra)]
    others = [r for r in requirements if not r.startswith("group-streams")]
    # Without markers, and without the extras of others.
    return [re.sub(r"\[.*\]", "", requirement.split(";")[0]) for requirement in others]


def test_every_requirement_is_locked() -> None:
    locked = _constraints()

    for requirement in _required():
        name, relation, version = re.split(r"(==|>=)", requirement.split(",")[0])
        assert _plain(name) in locked, f"{name} is not in constraints.txt"
        if relation == "==":
            assert locked[_plain(name)] == version


def test_what_the_engine_subclasses_is_pinned_exactly() -> None:
    exact = {r.split("==")[0] for r in _required() if "==" in r}

    assert exact == {"faust-streaming", "mode-streaming", "aiokafka", "rocksdict"}


def test_a_client_alone_brings_in_no_worker() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    names = {re.split(r"[>=;]", requirement)[0] for requirement in project["dependencies"]}
    assert names == {"aiohttp", "murmurhash2", "yarl"}
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, streams.client; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"faust", "mode", "confluent_kafka", "rocksdict", "orjson", "click"} & set(loaded)
    assert {"aiohttp", "streams.client"} <= set(loaded)


def test_the_lab_has_the_version_of_the_rest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lab = tomllib.loads((ROOT / "packaging" / "lab" / "pyproject.toml").read_text())["project"]

    assert lab["version"] == streams.__version__
    assert lab["dependencies"] == [f"group-streams[worker]=={streams.__version__}"]
    assert project["optional-dependencies"]["lab"] == [f"{lab['name']}=={streams.__version__}"]


def test_the_native_core_has_the_version_of_the_rest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = tomllib.loads((ROOT / "native" / "pyproject.toml").read_text())["project"]

    assert core["version"] == streams.__version__
    assert project["optional-dependencies"]["native"] == [f"{core['name']}=={streams.__version__}"]


def test_the_entry_points() -> None:
    def value(group: str) -> str:
        (entry,) = entry_points(group=group, name="streams")
        return entry.value

    assert value("faust.transports") == "streams.engine.transport:Transport"
    assert value("faust.stores") == "streams.engine.store:Store"
    assert value("console_scripts") == "streams.cli:main"


def test_a_bare_make_lists_its_targets() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    targets = [line.split()[1] for line in listed.splitlines()]
    assert {"install", "run", "test", "lint", "bench", "console", "clean"} <= set(targets)


def test_the_shell_variable_seconds_is_not_the_length_of_a_run() -> None:
    def planned(*arguments: str) -> str:
        command = ["make", "--dry-run", "run", *arguments]
        environment = {"PATH": "/usr/bin:/bin", "SECONDS": "7"}
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment
        )
        return ended.stdout.splitlines()[-1]

    assert planned().endswith("streams run ")
    assert planned("SECONDS=30", "WORKERS=2").endswith("streams run --seconds 30 --workers 2")


def test_without_ensurepip_one_line_says_what_to_install(tmp_path: Path) -> None:
    # Given a Python without ensurepip, as Debian's is until python3-venv is installed
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "ensurepip.py").write_text("raise ImportError")
    venv = tmp_path / "venv"

    # When it is to make the venv
    ended = subprocess.run(
        ["make", "--no-print-directory", "install", f"VENV={venv}", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(hidden)},
        capture_output=True,
        text=True,
        check=False,
    )

    # Then the error says what is missing, and no half-made venv is left
    assert ended.returncode == 2
    first, *_ = ended.stderr.splitlines()
    assert first == f"{sys.executable} lacks ensurepip; on Debian: apt-get install python3-venv"
    assert not venv.exists()


def test_a_fresh_machine_that_cannot_be_made_is_skipped_by_name(tmp_path: Path) -> None:
    ended = subprocess.run(
        [str(ROOT / "tools" / "fresh-machine"), "3.99"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0
    assert ended.stdout.startswith("fresh machine with Python 3.99: SKIPPED: no Debian release")
