"""Decoding the parts of a request target: path segments and query parameters.

A path is split before anything in it is decoded, so that an id may hold a slash.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_plus, unquote_to_bytes

from streams.gateway.http.errors import bad_request

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MAX_PARAMETERS = 16


def split_target(target: str) -> tuple[str, str]:
    """Split a request target into its raw path and raw query.

    Accepts both the usual form and the absolute one (`http://host/path`).
    """
    if not target.startswith("/"):
        scheme, found, rest = target.partition("://")
        if found and scheme.lower() in ("http", "https"):
            start = re.search(r"[/?]", rest)
            target = rest[start.start() :] if start else "/"
            if target.startswith("?"):
                target = "/" + target
    path, _, query = target.partition("#")[0].partition("?")
    return path, query


def decode_segment(name: str, segment: str) -> str:
    """Decode a path segment; `name` names it in the error.

    Raises:
        HTTPError: 400 if an escape is broken or the bytes are not UTF-8.
    """
    if _BROKEN_ESCAPE.search(segment):
        raise bad_request("bad_id", f"{name}: a '%' in a path must be followed by two hex digits")
    # aiohttp passes bytes outside ASCII as lone surrogates.
    raw = segment.encode("utf-8", "surrogateescape")
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise bad_request("bad_id", f"{name}: must be percent-encoded UTF-8") from None


def decode_query(query: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of a raw query; one without a value counts as absent.

    Raises:
        HTTPError: 400 if a parameter is unknown, given twice, or not UTF-8.
    """
    parameters: dict[str, str] = {}
    seen: set[str] = set()
    if not query:
        return parameters
    pairs = query.split("&", _MAX_PARAMETERS)
    if len(pairs) > _MAX_PARAMETERS:
        raise bad_request("bad_parameter", "too many parameters")
    for pair in pairs:
        if not pair:
            continue
        raw_name, _, raw_value = pair.partition("=")
        try:
            if _BROKEN_ESCAPE.search(pair):
                raise ValueError
            name = unquote_plus(raw_name, errors="strict")
            value = unquote_plus(raw_value, errors="strict")
            value.encode()
        except ValueError:
            raise bad_request("bad_parameter", "the query must be percent-encoded UTF-8") from None
        if name not in known:
            takes = "takes " + ", ".join(known) if known else "takes none"
            raise bad_request(
                "bad_parameter", f"unknown parameter {name[:40]!r}: this path {takes}"
            )
        if name in seen:
            raise bad_request("bad_parameter", f"parameter {name!r} is given twice")
        seen.add(name)
        if value:
            parameters[name] = value
    return parameters


def integer(parameters: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return an integer parameter.

    Raises:
        HTTPError: 400 if it is not an integer from `low` to `high`.
    """
    text = parameters.get(name)
    if text is None:
        return default
    if re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) and low <= int(text) <= high:
        return int(text)
    raise bad_request("bad_parameter", f"{name} must be an integer from {low} to {high}")


def seconds(parameters: dict[str, str], name: str, high: float) -> float:
    """Return a parameter in seconds; 0 if absent.

    Raises:
        HTTPError: 400 if it is not a decimal number from 0 to `high`.
    """
    text = parameters.get(name)
    if text is None:
        return 0.0
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", text, re.ASCII) and float(text) <= high:
        return float(text)
    raise bad_request("bad_parameter", f"{name} must be a number of seconds from 0 to {high:g}")
