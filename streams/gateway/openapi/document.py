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
    101: "The connection is a WebSocket from here on.",
    200: "Here it is.",
    201: "Kafka has it.",
    204: "Kafka has it.",
    400: "The request is wrong; the message says what would be right.",
    403: "Not allowed.",
    404: "There is no such thing.",
    408: "The body did not arrive in time.",
    413: "Over a limit.",
    415: "The body is compressed; send it as it is.",
    426: "This path is a WebSocket.",
    429: "No room just now; come again after `Retry-After` seconds.",
    503: "The partition is moving or recovering, or Kafka is away; come again after "
    "`Retry-After` seconds.",
}
_TAGS = {
    "groups": "Who receives what is sent to a group.",
    "messages": "Sending.",
    "queues": "Reading, and being done with what was read.",
    "jobs": "Several consumers of one queue.",
    "sessions": "Bindings that end with a login.",
    "operation": "How the worker and its cluster are.",
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
            "description": "Group messaging over two logs: any worker answers for the whole "
            "cluster. Ids stand percent-encoded in paths.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
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
    described = {"name": parameter.name, "in": parameter.where, "schema": parameter.schema}
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
        "description": "Something else is wrong.",
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
