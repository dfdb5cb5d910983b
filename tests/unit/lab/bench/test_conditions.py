"""What stands beside the figures, and the plots."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.lab.bench import suite
from streams.lab.bench.figures import Figure
from streams.lab.bench.harness import Options
from streams.lab.bench.report import BenchResult
from streams.settings import Settings


def test_conditions_name_machine_versions_and_settings_but_no_secret() -> None:
    settings = Settings.from_env({"STREAMS_PARTITIONS": "3", "STREAMS_TOKEN": "secret"})
    conditions = suite.conditions(settings, Options(quick=True))
    assert conditions["machine"]["cores"] >= 1
    assert {"streams", "faust-streaming", "librdkafka"} <= conditions["versions"].keys()
    assert conditions["settings"]["partitions"] == 3
    assert conditions["options"]["quick"] is True
    assert "secret" not in str(conditions)


def test_what_grows_is_drawn_once_for_each_unit(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figures = [
        Figure("churn at 10", "/s", (1, 2, 3), "churn", 10),
        Figure("churn at 100", "/s", (2, 3, 4), "churn", 100),
        Figure("memory at 10", "MiB", (5,), "memory", 10),
        Figure("no point", "s", (1,)),
    ]
    drawn = suite.draw(BenchResult("scale", "", 3, 1.0, figures, []), tmp_path / "plots")
    assert [path.name for path in drawn] == ["scale-per-second.png", "scale-mib.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
