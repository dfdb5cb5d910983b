"""The unit file of a worker."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from streams.settings import Settings

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNIT = FOLDER / "streams-worker.service"


def _assignments(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if "=" in line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


def test_systemd_finds_nothing(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    command = _assignments(UNIT)["ExecStart"].split()[0]
    unit.write_text(UNIT.read_text().replace(command, "/bin/true"))

    ended = subprocess.run(
        [analyze, "verify", str(unit)], capture_output=True, text=True, check=False
    )

    # Versions before 254 do not know pauses that grow, and say so.
    said = [
        line for line in ended.stderr.splitlines() if unit.name in line and "Restart" not in line
    ]
    assert said == []


def test_a_worker_is_given_the_time_for_an_orderly_stop() -> None:
    unit = _assignments(UNIT)

    assert unit["ExecStart"] == "/opt/streams/bin/streams worker"
    assert int(unit["TimeoutStopSec"]) >= 60
    assert unit["Restart"] == "always"
    assert "KillSignal" not in unit, "a worker stops in order at SIGTERM, systemd's default"


def test_the_settings_are_known_and_let_a_worker_listen(tmp_path: Path) -> None:
    given = _assignments(FOLDER / "worker.env")
    (tmp_path / "public.pem").touch()
    here = {"STREAMS_DATA": str(tmp_path), "STREAMS_AUTH_KEYS": str(tmp_path / "public.pem")}

    settings = Settings.from_env(given | here)

    settings.check_public(settings.http_host)
    assert settings.replication == 3
    assert settings.advertised_url == given["STREAMS_HTTP_ADVERTISED_URL"]
    assert _assignments(UNIT)["EnvironmentFile"] == "/etc/streams/worker.env"
