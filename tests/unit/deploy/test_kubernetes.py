"""The manifests, checked without a cluster.

kubernetes-validate has the schemas of Kubernetes itself: unknown keys and wrong types are errors.
Strimzi's own resources are checked for what the workers rely on.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from streams import __version__
from streams.kafka.embedded.jars import KAFKA_VERSION
from streams.settings import Settings
from streams.topics import event_topics

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
KUBERNETES = "1.34"


def _resources() -> Iterator[dict[str, Any]]:
    for name in _kustomization()["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


def _kustomization() -> dict[str, Any]:
    loaded = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert isinstance(loaded, dict)
    return loaded


RESOURCES = {f"{r['kind']} {r['metadata']['name']}": r for r in _resources()}
OURS = [name for name, r in RESOURCES.items() if "strimzi.io" not in r["apiVersion"]]


def _pod() -> dict[str, Any]:
    pod = RESOURCES["StatefulSet streams"]["spec"]["template"]["spec"]
    assert isinstance(pod, dict)
    return pod


def _worker() -> dict[str, Any]:
    (worker,) = _pod()["containers"]
    assert isinstance(worker, dict)
    return worker


def _config() -> dict[str, str]:
    (generated,) = _kustomization()["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generated["literals"])


def test_the_kustomization_names_every_file() -> None:
    files = {path.name for path in FOLDER.iterdir()}

    assert files == {*_kustomization()["resources"], "kustomization.yaml"}


@pytest.mark.parametrize("name", OURS)
def test_a_resource_follows_the_schema_of_kubernetes(name: str) -> None:
    kubernetes_validate.validate(RESOURCES[name], KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "template", "spec", "enableServiceLink"), False),
        (("spec", "replicas"), "three"),
        (("spec", "template", "spec", "containers", 0, "readinessProbe", "httpget"), {}),
    ],
)
def test_that_check_can_fail(path: tuple[Any, ...], value: Any) -> None:
    broken = copy.deepcopy(RESOURCES["StatefulSet streams"])
    inner: Any = broken
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_workers_start_with_these_settings(tmp_path: Path) -> None:
    # Given the variables of a pod, with files that exist here
    given = _config() | {e["name"]: e.get("value", "") for e in _worker()["env"]}
    given = {name: value for name, value in given.items() if name.startswith("STREAMS_")}
    mounts = {m["mountPath"] for m in _worker()["volumeMounts"]}
    for name, value in given.items():
        if value.startswith("/"):
            assert str(Path(value).parent) in mounts, name
            given[name] = str(tmp_path / Path(value).name)
            Path(given[name]).touch()
    image = dict(
        re.findall(r"(STREAMS_[A-Z_]+)=(\S+)", (ROOT / "docker" / "Dockerfile").read_text())
    )
    assert image["STREAMS_DATA"] in mounts
    given["STREAMS_HTTP_ADVERTISED_URL"] = (
        given["STREAMS_HTTP_ADVERTISED_URL"]
        .replace("$(POD_NAME)", "streams-0")
        .replace("$(POD_NAMESPACE)", "streams")
    )

    # When they are read
    settings = Settings.from_env(image | given | {"STREAMS_DATA": str(tmp_path)})

    # Then the worker may listen, and others reach it at the name of its pod
    settings.check_public(settings.http_host)
    assert settings.advertised_url == "http://streams-0.streams-workers.streams.svc:6066"
    assert settings.kafka_security_protocol == "SSL"


def test_kubernetes_adds_no_settings_of_its_own() -> None:
    # The service `streams` would become STREAMS_PORT and others.
    assert "Service streams" in RESOURCES
    assert _pod()["enableServiceLinks"] is False


def test_each_pod_has_a_name_that_other_workers_can_resolve() -> None:
    headless = RESOURCES["Service streams-workers"]["spec"]

    assert RESOURCES["StatefulSet streams"]["spec"]["serviceName"] == "streams-workers"
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True


def test_what_selects_workers_selects_them() -> None:
    labels = RESOURCES["StatefulSet streams"]["spec"]["template"]["metadata"]["labels"]

    for name in ("Service streams", "Service streams-workers"):
        assert RESOURCES[name]["spec"]["selector"].items() <= labels.items()
        (port,) = RESOURCES[name]["spec"]["ports"]
        assert port["targetPort"] in {p["name"] for p in _worker()["ports"]}
    budget = RESOURCES["PodDisruptionBudget streams"]["spec"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert budget["maxUnavailable"] == 1


def test_probes_ask_what_they_are_meant_to_ask() -> None:
    worker = _worker()

    assert worker["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert worker["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert worker["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_pod_is_the_user_of_the_image_and_runs_this_version() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    (image,) = _kustomization()["images"]

    assert f"USER {_pod()['securityContext']['runAsUser']}\n" in dockerfile
    assert image == {"name": _worker()["image"], "newTag": __version__}


def test_kafka_is_the_one_that_is_tested_and_keeps_each_record_twice() -> None:
    kafka = RESOURCES["Kafka kafka"]["spec"]["kafka"]
    (listener,) = kafka["listeners"]

    assert kafka["version"] == KAFKA_VERSION
    assert kafka["config"]["auto.create.topics.enable"] is False
    assert kafka["config"]["min.insync.replicas"] == 2
    assert RESOURCES["KafkaNodePool broker"]["spec"]["replicas"] == 3
    assert _config()["STREAMS_REPLICATION"] == "3"
    assert _config()["STREAMS_BROKERS"] == f"kafka-kafka-bootstrap:{listener['port']}"
    assert listener["authentication"] == {"type": "tls"}
    assert kafka["authorization"] == {"type": "simple"}


def test_the_workers_may_use_their_topics_and_nothing_else() -> None:
    acls = RESOURCES["KafkaUser streams"]["spec"]["authorization"]["acls"]
    settings = Settings.from_env({})
    topics = {topic.name for topic in event_topics(settings)} | {
        "streams-members-changelog",
        "streams-queues-changelog",
    }

    granted = {
        (a["resource"]["type"], a["resource"]["name"], a["resource"]["patternType"]) for a in acls
    }
    assert granted == {("topic", name, "literal") for name in topics} | {
        ("group", settings.app_id, "prefix"),
        ("transactionalId", settings.app_id, "prefix"),
    }
    assert all(a["operations"] == ["All"] for a in acls)
