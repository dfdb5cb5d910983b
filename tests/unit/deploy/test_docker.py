"""The image and the compose file, checked without Docker.

hadolint reads the Dockerfile.  The compose file is read by `compose_spec`, a strict
implementation of the Compose Specification: unknown keys and wrong types are errors.
Neither pulls or runs an image; that the tags exist is not checked here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from streams import __version__
from streams.kafka.embedded.jars import KAFKA_VERSION
from streams.settings import Settings

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
COMPOSE = ROOT / "docker" / "compose.yaml"
PINNED = re.compile(r"[a-z0-9/.-]+:v?\d+\.\d+\.\d+(-[a-z0-9.-]+)?")


@pytest.fixture
def compose() -> dict[str, Any]:
    """The compose file, with YAML merges resolved."""
    loaded = yaml.safe_load(COMPOSE.read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=sysconfig.get_path("scripts"))
    assert hadolint, "hadolint is part of the extra dev"

    ended = subprocess.run(
        [hadolint, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False
    )

    assert ended.stdout + ended.stderr == ""
    assert ended.returncode == 0


def test_the_image_is_pinned_unprivileged_and_checks_its_health() -> None:
    lines = DOCKERFILE.read_text().splitlines()

    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert len(bases) == 2
    assert all(PINNED.fullmatch(base) for base in bases)
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert users[-1] not in ("root", "0")
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    assert "/healthz" in DOCKERFILE.read_text()
    assert "--constraint constraints.txt" in DOCKERFILE.read_text()


def test_the_image_sets_only_known_settings(tmp_path: Path) -> None:
    given = dict(re.findall(r"(STREAMS_[A-Z_]+)=(\S+)", DOCKERFILE.read_text()))

    settings = Settings.from_env(given | {"STREAMS_DATA": str(tmp_path)})

    assert given["STREAMS_DATA"] == "/var/lib/streams"
    assert settings.http_host == "0.0.0.0"


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for line in DOCKERFILE.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }

    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


def test_the_compose_file_follows_the_specification(compose: dict[str, Any]) -> None:
    parsed = PyCompose.from_json(json.dumps(compose))
    parsed.validate()

    assert len(parsed.service_names()) == 10


@pytest.mark.parametrize(
    ("service", "key", "value", "says"),
    [
        ("worker-1", "volume", [], "volume"),
        ("worker-1", "restart", "sometimes", "unknown variant `sometimes`"),
        ("worker-1", "networks", ["nowhere"], "nowhere"),
        ("kafka-1", "stop_grace_period", "a while", "duration `a while`"),
    ],
)
def test_that_check_can_fail(
    compose: dict[str, Any], service: str, key: str, value: Any, says: str
) -> None:
    compose["services"][service][key] = value

    with pytest.raises(ValueError, match=says):
        PyCompose.from_json(json.dumps(compose)).validate()


def test_every_volume_that_is_used_is_declared(compose: dict[str, Any]) -> None:
    used = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }

    assert used == set(compose["volumes"])


def test_every_image_is_pinned(compose: dict[str, Any]) -> None:
    images = {service["image"] for service in compose["services"].values()}

    others = {image for image in images if image.startswith(("prom/", "grafana/"))}
    assert images - others == {f"apache/kafka:{KAFKA_VERSION}", f"group-streams:{__version__}"}
    assert all(PINNED.fullmatch(image) for image in images)


def test_every_record_is_on_three_brokers_and_confirmed_by_two(compose: dict[str, Any]) -> None:
    brokers = {name: s for name, s in compose["services"].items() if name.startswith("kafka")}

    assert len(brokers) == 3
    assert [s["environment"]["KAFKA_NODE_ID"] for s in brokers.values()] == [1, 2, 3]
    for name, service in brokers.items():
        environment = service["environment"]
        assert environment["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{name}:9092"
        assert environment["KAFKA_DEFAULT_REPLICATION_FACTOR"] == 3
        assert environment["KAFKA_MIN_INSYNC_REPLICAS"] == 2
        assert environment["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == 3
        assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
        assert service["volumes"] == [f"{name}:{environment['KAFKA_LOG_DIRS']}"]
        assert service["healthcheck"]["test"]


@pytest.mark.parametrize("name", ["topics", "worker-1", "worker-2"])
def test_our_services_set_only_known_settings(
    compose: dict[str, Any], name: str, tmp_path: Path
) -> None:
    # Given the environment from the image and the compose file
    service = compose["services"][name]
    image = dict(re.findall(r"(STREAMS_[A-Z_]+)=(\S+)", DOCKERFILE.read_text()))
    given = image | {key: str(value) for key, value in service["environment"].items()}

    # When it is read as settings
    (tmp_path / "public.pem").touch()
    here = {"STREAMS_DATA": str(tmp_path), "STREAMS_AUTH_KEYS": str(tmp_path / "public.pem")}
    settings = Settings.from_env(given | {name: here[name] for name in here if name in given})

    # Then all three brokers are used, with replicas, and workers have names
    assert settings.brokers == "kafka-1:9092,kafka-2:9092,kafka-3:9092"
    assert settings.replication == 3
    if name != "topics":
        assert settings.advertised_url == f"http://{service['hostname']}:6066"
        assert service["volumes"] == [f"{name}:/var/lib/streams", "keys:/etc/streams/keys:ro"]
        settings.check_public(settings.http_host)
        assert service["depends_on"]["topics"]["condition"] == "service_completed_successfully"
    else:
        assert service["command"] == ["topics"]


def test_no_worker_gets_the_signing_key(compose: dict[str, Any]) -> None:
    mounts = {
        name: {volume.split(":")[0] for volume in service.get("volumes", [])}
        for name, service in compose["services"].items()
    }

    assert {name for name, volumes in mounts.items() if "signing" in volumes} == {"keys", "token"}
    for name in ("keys", "token"):
        service = compose["services"][name]
        assert service["profiles"] == ["tools"]
        assert service["command"][:3] == ["token", "--key", "/etc/streams/signing/key.pem"]
    made = compose["services"]["keys"]["command"]
    worker = compose["services"]["worker-1"]["environment"]
    assert made[made.index("--new-key") + 1] == worker["STREAMS_AUTH_KEYS"]
