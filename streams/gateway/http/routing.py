"""Routes, and finding the one that a request is for.

The router is our own because an id may hold any character, an encoded slash too:
`/v1/groups/a%2Fb/queues` is about the group `a/b`.  Other routers decode a path before they
split it.  Knows nothing of what handlers do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from types import MethodType
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

from aiohttp import web

from streams.gateway.http.context import RequestContext
from streams.gateway.http.errors import HTTPError

H = TypeVar("H")

Handler: TypeAlias = Callable[[RequestContext], Awaitable[web.StreamResponse]]

_Shape: TypeAlias = tuple[tuple[int, ...], tuple[tuple[int, str], ...]]
"""Positions of the words in a path, and positions and names of its ids."""


class HTTPRoute(NamedTuple, Generic[H]):
    """One method of one path, and what handles it."""

    method: str
    """`GET` serves `HEAD` too."""
    template: str
    """For example `/v1/groups/{group}/queues`; names of ids stand in braces."""
    handler: H


class Routes:
    """Base of the classes whose methods handle requests."""

    ROUTES: ClassVar[tuple[HTTPRoute[Callable[[Any, RequestContext], Awaitable[Any]]], ...]]
    """The routes, with functions of the class as handlers."""

    def bound(self) -> list[HTTPRoute[Handler]]:
        """Return the routes with the methods of this object as handlers."""
        return [
            HTTPRoute(method, template, MethodType(function, self))
            for method, template, function in self.ROUTES
        ]


@dataclass(frozen=True, slots=True)
class Resource(Generic[H]):
    """One path with the handlers of all its methods."""

    template: str
    handlers: dict[str, H] = field(default_factory=dict)

    @property
    def allow(self) -> str:
        """Value of the `Allow` header."""
        methods = set(self.handlers) | {"OPTIONS"}
        if "GET" in methods:
            methods.add("HEAD")
        return ", ".join(sorted(methods))

    def handler(self, method: str) -> tuple[str, H]:
        """Return the handler of a method, and the method it belongs to: GET for HEAD.

        Raises:
            HTTPError: 405 if the path does not support the method.
        """
        method = "GET" if method == "HEAD" else method
        handler = self.handlers.get(method)
        if handler is None:
            raise HTTPError(
                405, "method_not_allowed", f"this path allows {self.allow}", {"Allow": self.allow}
            )
        return method, handler


class Router(Generic[H]):
    """Groups routes by path, and finds the resource of a raw path."""

    def __init__(self, routes: Iterable[HTTPRoute[H]]) -> None:
        resources: dict[str, Resource[H]] = {}
        for route in routes:
            resource = resources.setdefault(route.template, Resource(route.template))
            if route.method in resource.handlers:
                raise ValueError(f"{route.method} {route.template} has two handlers")
            resource.handlers[route.method] = route.handler
        # Indexed by length and shape: finding a path takes one dictionary lookup for each way
        # in which ids can stand in a path of its length, whatever the number of routes.
        self._by_length: dict[int, dict[_Shape, dict[tuple[str, ...], Resource[H]]]] = {}
        for resource in resources.values():
            pattern = resource.template.split("/")
            words, names = [], []
            for position, part in enumerate(pattern):
                if part.startswith("{"):
                    names.append((position, part[1:-1]))
                else:
                    words.append((position, part))
            shape = tuple(position for position, _ in words), tuple(names)
            shapes = self._by_length.setdefault(len(pattern), {})
            shapes.setdefault(shape, {})[tuple(word for _, word in words)] = resource

    def find(self, raw_path: str) -> tuple[Resource[H], dict[str, str]]:
        """Return the resource, and the encoded segment of each of its names.

        Raises:
            HTTPError: 404 if there is no such path.
        """
        segments = raw_path.split("/")
        for (positions, names), resources in self._by_length.get(len(segments), {}).items():
            resource = resources.get(tuple([segments[position] for position in positions]))
            if resource is not None:
                return resource, {name: segments[position] for position, name in names}
        raise HTTPError(404, "not_found", "no such path; see /v1/openapi.json")
