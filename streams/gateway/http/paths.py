"""From the raw target of a request to a route and its ids.

An id may hold any character, so a path is split before anything in it is decoded:
`/v1/groups/a%2Fb/queues` is about the group `a/b`.  Knows nothing of what routes do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import unquote_plus, unquote_to_bytes

from streams.gateway.http.errors import HTTPError, bad_request

H = TypeVar("H")

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MAX_PARAMETERS = 16

_Shape: TypeAlias = tuple[tuple[int, ...], tuple[tuple[int, str], ...]]
"""Places of words in a path, and places and names of ids."""


@dataclass(frozen=True, slots=True)
class Route(Generic[H]):
    """One path with the handlers of its methods."""

    template: str
    """For example `/v1/groups/{group}/queues`; names of ids stand in braces."""
    handlers: dict[str, H]

    @property
    def allow(self) -> str:
        """Value of the `Allow` header."""
        methods = set(self.handlers) | {"OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods))


class Router(Generic[H]):
    """Finds the route of a raw path."""

    def __init__(self, routes: Iterable[Route[H]]) -> None:
        # By what is the same in all paths of a shape: a path of five parts is looked up once
        # for each way in which ids may stand in it, whatever the number of routes.
        self._by_length: dict[int, dict[_Shape, dict[tuple[str, ...], Route[H]]]] = {}
        for route in routes:
            pattern = route.template.split("/")
            words, names = [], []
            for place, part in enumerate(pattern):
                if part.startswith("{"):
                    names.append((place, part[1:-1]))
                else:
                    words.append((place, part))
            shape = tuple(place for place, _ in words), tuple(names)
            shapes = self._by_length.setdefault(len(pattern), {})
            shapes.setdefault(shape, {})[tuple(word for _, word in words)] = route

    def find(self, raw_path: str) -> tuple[Route[H], dict[str, str]]:
        """Return the route and the still encoded segments that stand for its names.

        Raises:
            HTTPError: 404, there is no such path.
        """
        segments = raw_path.split("/")
        for (places, names), routes in self._by_length.get(len(segments), {}).items():
            route = routes.get(tuple([segments[place] for place in places]))
            if route is not None:
                return route, {name: segments[place] for place, name in names}
        raise HTTPError(404, "not_found", "there is no such path; the README lists all of them")


def split_target(target: str) -> tuple[str, str]:
    """Split a request target into its raw path and raw query.

    Both the usual form and the absolute one (`http://host/path`) are understood.
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
    """Return the text that a path segment stands for; `name` is for the error.

    Raises:
        HTTPError: 400, an escape is broken or the bytes are not UTF-8.
    """
    if _BROKEN_ESCAPE.search(segment):
        raise bad_request("bad_id", f"{name}: a '%' in a path must be followed by two hex digits")
    # The server hands on bytes outside ASCII as lone surrogates.
    raw = segment.encode("utf-8", "surrogateescape")
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise bad_request("bad_id", f"{name}: must be percent-encoded UTF-8") from None


def decode_query(query: str, known: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of a raw query.

    Raises:
        HTTPError: 400, a parameter is unknown, given twice, or not UTF-8.
    """
    parameters: dict[str, str] = {}
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
        if name in parameters:
            raise bad_request("bad_parameter", f"parameter {name!r} is given twice")
        parameters[name] = value
    return parameters


def integer(parameters: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    """Return an integer parameter.

    Raises:
        HTTPError: 400, it is not an integer from `low` to `high`.
    """
    text = parameters.get(name)
    if text is None:
        return default
    if re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) and low <= int(text) <= high:
        return int(text)
    raise bad_request("bad_parameter", f"{name} must be an integer from {low} to {high}")


def seconds(parameters: dict[str, str], name: str, high: float) -> float:
    """Return a parameter in seconds, 0 when absent.

    Raises:
        HTTPError: 400, it is not a decimal number from 0 to `high`.
    """
    text = parameters.get(name)
    if text is None:
        return 0.0
    if re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", text, re.ASCII) and float(text) <= high:
        return float(text)
    raise bad_request("bad_parameter", f"{name} must be a number of seconds from 0 to {high:g}")
