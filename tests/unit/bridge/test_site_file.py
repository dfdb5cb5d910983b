"""The file with the settings of another site."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.bridge.site_file import site_settings
from streams.errors import SettingsError


def written(folder: Path, text: str) -> Path:
    path = folder / "east.env"
    path.write_text(text)
    return path


def test_it_has_the_names_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMS_NAMESPACE", "here")
    path = written(tmp_path, "# east\n\n STREAMS_BROKERS=east:9092\nSTREAMS_PARTITIONS=3")
    settings = site_settings(path)

    assert (settings.brokers, settings.partitions, settings.namespace) == ("east:9092", 3, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "STREAMS_BROKERS is missing"),
        ("STREAMS_NAMESPACE=a", "STREAMS_BROKERS is missing"),
        ("BROKERS=a:1", "line 1: a line is NAME=VALUE with a name of a setting"),
        ("STREAMS_BROKERS=a:1\nSTREAMS_PARTITION=3", "unknown setting STREAMS_PARTITION"),
        ("STREAMS_BROKERS", "line 1: a line is NAME=VALUE with a name of a setting"),
        ("STREAMS_BROKERS=a:1\nSTREAMS_BROKERS=b:1", "line 2: STREAMS_BROKERS is set twice"),
        ("STREAMS_BROKERS=a", "STREAMS_BROKERS must be"),
        ("STREAMS_BROKERS=a:1\nSTREAMS_KAFKA_SASL_PASSWORD=x", "has no effect"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        site_settings(written(tmp_path, text))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        site_settings(tmp_path / "none")
