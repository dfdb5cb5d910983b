"""The dashboard, the alert rules and the scrape targets, checked without a server.

A PromQL parser modelled on Prometheus' own reads every expression.  The integration tests check
that a worker has each metric.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana" / "streams.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((DOCKER / "alerts.yml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def targets() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def plain(expression: str) -> str:
    """Return an expression with Grafana's variables filled in."""
    return expression.replace("$__rate_interval", "1m").replace("$instance", ".*")


@pytest.mark.parametrize(("title", "expression"), list(targets()))
def test_panels_have_valid_promql(title: str, expression: str) -> None:
    filled = plain(expression)

    assert "$" not in filled, title
    promql_parser.parse(filled)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_rules_are_complete(rule: dict[str, Any]) -> None:
    promql_parser.parse(rule["expr"])

    assert re.fullmatch(r"Streams[A-Za-z]+", rule["alert"])
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
    assert rule["annotations"].keys() == {"summary", "description"}
    # The labels that the text names must remain in the result of the expression
    for label in re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())):
        aggregated = re.search(r"\bby \(([^)]*)\)", rule["expr"])
        assert aggregated is None or label in aggregated[1], (rule["alert"], label)


def test_that_check_can_fail() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        promql_parser.parse("sum by (instance) (rate(streams_binds_total[5m])")


def test_names_are_unique() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_are_on_the_grid_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(
    "subject",
    [
        "lag_records",
        "lag_seconds",
        "transaction_held_seconds",
        "partition_silences",
        "binds",
        "deliveries",
        "inbox_messages",
        "inbox_oldest",
        "checkpoint_seconds",
        "overlay_bytes",
        "rocksdb",
        "recovery_ratio",
        "event_loop_lag",
        "http_requests",
        "publisher_queued",
        "dead_letters",
        "resident_memory",
    ],
)
def test_every_subject_has_a_panel(subject: str) -> None:
    assert any(subject in expression for _, expression in targets())


@pytest.mark.parametrize(
    "metric",
    [
        "streams_transaction_held_seconds",
        "streams_partition_silences_total",
        "streams_partition_failures_total",
    ],
)
def test_what_people_must_look_into_has_an_alert(metric: str) -> None:
    assert any(metric in rule["expr"] for rule in RULES)


def test_prometheus_scrapes_the_workers_of_the_compose_file() -> None:
    prometheus = yaml.safe_load((DOCKER / "prometheus.yml").read_text())
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())

    (job,) = prometheus["scrape_configs"]
    assert job["job_name"] == "streams"
    assert prometheus["rule_files"] == ["alerts.yml"]
    workers = {f"{name}:6066" for name in compose["services"] if name.startswith("worker-")}
    assert {target for some in job["static_configs"] for target in some["targets"]} == workers
    (secret,) = compose["services"]["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"


def test_grafana_finds_its_provisioning_files() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    grafana = compose["services"]["grafana"]
    provider = yaml.safe_load((DOCKER / "grafana" / "dashboards.yml").read_text())
    folder = provider["providers"][0]["options"]["path"]

    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].startswith(folder)
    for config in compose["configs"].values():
        assert (DOCKER / config["file"]).is_file()
    for name in ("prometheus", "grafana"):
        assert compose["services"][name]["profiles"] == ["metrics"]
        assert all(p.startswith("127.0.0.1:") for p in compose["services"][name]["ports"])
