"""A bench from start to end, as small as it gets: it measures, and cleans up after itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from streams.lab.bench import suite
from streams.lab.bench.harness import Options
from streams.lab.bench.report import as_json
from streams.settings import Settings


@pytest.mark.slow
def test_churn_is_measured_on_two_workers(settings: Settings, tmp_path: Path) -> None:
    # Given a Kafka, and no workers
    given = replace(settings, brokers_given=True, data=tmp_path, http_port=7250)
    options = Options(workers=2, runs=1, quick=True, baseline=False)

    # When the bench has run
    outcome = suite.run("churn", given, options)

    # Then it has found what it is for, every event was where it belongs (it looks itself),
    figures = {figure.name: figure for figure in outcome.figures}
    assert figures["binds + unbinds"].median > 100
    assert figures["worker CPU per unbind"].median > 1
    assert figures["while binding: worker CPU"].median > 1
    assert as_json(outcome)["bench"] == "churn"
    # and nothing is left of it
    topics = AdminClient({"bootstrap.servers": given.brokers}).list_topics(timeout=120).topics
    assert not [name for name in topics if name.startswith("bench-")]
    assert not list((tmp_path / "bench").iterdir())
