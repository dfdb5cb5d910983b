"""The OpenAPI document checked against a live worker, with requests generated from it."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from two_workers import two_workers, wait_until_ready

from streams.gateway.openapi.document import document
from streams.kafka.embedded.cluster import EmbeddedKafka

pytest_plugins = ("schemathesis.pytest.plugin",)
"""Loaded here alone: it takes a second, and each process of the tests would load it."""

ENDLESS = "/v1/queues/{queue}/events"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


@schemathesis.serializer("application/x-ndjson")
def lines(context: schemathesis.SerializationContext, value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


schema = schemathesis.openapi.from_dict(document()).exclude(path=ENDLESS)


@pytest.fixture(scope="module")
def url(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with two_workers(kafka, tmp_path_factory.mktemp("openapi"), "openapi", 17466) as started:
        wait_until_ready(started)
        yield started.urls[0]


@schema.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_a_worker_answers_as_documented(case: schemathesis.Case[Any], url: str) -> None:
    wait = case.query.get("wait") if case.query else None
    # The wait may be a number as text; whatever else it is, the worker must reject it.
    with contextlib.suppress(TypeError, ValueError):
        if wait is not None and 0 < float(wait) <= 60:
            case.query["wait"] = 0.05
    answer = case.call(base_url=url, timeout=120)
    case.validate_response(answer, checks=CHECKS)


def test_the_document_is_served(url: str) -> None:
    with urllib.request.urlopen(f"{url}/v1/openapi.json", timeout=120) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        served = schemathesis.openapi.from_file(answer.read().decode())
    assert served.raw_schema == document()
