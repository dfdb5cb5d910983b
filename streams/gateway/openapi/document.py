"""The OpenAPI document, put together once from operations and schemas."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import streams
from streams.gateway.openapi.operations import (
    OPERATIONS,
    PATH_PARAMETERS,
    Operation,
    Parameter,
)
from streams.gateway.openapi.schemas import SCHEMAS, ref

_REASONS = {
    101: "The connection is now a WebSocket.",
    200: "Success.",
    201: "Kafka has confirmed it.",
    204: "Kafka has confirmed it.",
    400: "The request is invalid; the message names the valid values.",
    403: "Not allowed.",
    404: "Not found.",
    408: "The body did not arrive in time.",
    410: "The queue was deleted, with its bindings, while the request waited.",
    413: "The body exceeds a limit.",
    415: "The body is compressed; send it uncompressed.",
    426: "This path requires a WebSocket upgrade.",
    429: "Over a rate limit or too many requests in progress; retry after `Retry-After` seconds.",
    503: "The partition is moving or recovering, or Kafka is unreachable; retry after "
    "`Retry-After` seconds.",
}
_TAGS = {
    "groups": "Members, history and replay of groups.",
    "messages": "Publish messages and other events.",
    "queues": "Read, acknowledge and configure queues.",
    "jobs": "Share a queue among several consumers.",
    "sessions": "Bindings that end with a session.",
    "operation": "State of the worker and its cluster.",
}


@cache
def document() -> dict[str, Any]:
    """Return the document; not to be changed."""
    paths: dict[str, dict[str, Any]] = {}
    for (template, method), operation in OPERATIONS.items():
        paths.setdefault(template, {})[method.lower()] = _operation(template, method, operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Streams",
            "version": streams.__version__,
            "description": "Group messaging on Kafka. Every worker serves the whole cluster. "
            "Ids in paths are percent-encoded.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        # Relative to this document, so that it holds behind a prefix too.
        "servers": [{"url": ".."}],
        "security": [{}, {"token": []}],
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
            "headers": {
                "Retry-After": {
                    "description": "Seconds.",
                    "required": True,
                    "schema": {"type": "integer", "minimum": 1},
                }
            },
            "responses": {f"Error{status}": _error(status) for status in _REASONS if status >= 400},
        },
    }


def _operation(template: str, method: str, operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _name(template, method),
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": _responses(operation),
    }
    if operation.description:
        described["description"] = operation.description
    if operation.internal:
        described["x-internal"] = True
    names = re.findall(r"\{(\w+)\}", template)
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}
        for name in names
    ]
    parameters += map(_parameter, operation.parameters)
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {operation.body_type: {"schema": operation.body}},
        }
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "schema": parameter.schema,
    }
    if parameter.where == "query":  # one without a value counts as absent
        described["allowEmptyValue"] = True
    if parameter.description:
        described["description"] = parameter.description
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    good: dict[str, Any] = {"description": _REASONS[operation.status]}
    if operation.answer is not None:
        good["content"] = {operation.answer_type: {"schema": operation.answer}}
    responses = {str(operation.status): good}
    if operation.empty:
        responses["204"] = {"description": _REASONS[204]}
    for status in operation.errors:
        responses[str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    responses["default"] = {
        "description": "Any other error.",
        "content": {"application/json": {"schema": ref("Error")}},
    }
    return responses


def _error(status: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": _REASONS[status],
        "content": {"application/json": {"schema": ref("Error")}},
    }
    if status in (429, 503):
        described["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    return described


def _name(template: str, method: str) -> str:
    words = re.findall(r"\w+", template.removeprefix("/v1").replace(".json", ""))
    return method.lower() + "".join(word.capitalize() for word in words)
