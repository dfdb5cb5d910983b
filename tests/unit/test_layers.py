"""Which rooms of the package may import which, and that no imports go in circles.

Reads the source: imports inside functions and for types only count as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2] / "streams"

BASE = {
    "amounts",
    "child_process",
    "child_watch",
    "data_folder",
    "errors",
    "fold",
    "ids",
    "logs",
    "pauses",
    "ports",
    "repeats",
    "stall_timer",
    "tls",
}
"""Single modules below all rooms; they import each other and nothing else."""

PRODUCT = BASE | {"events", "folds", "kafka", "native", "schema_registry", "settings"}

MAY_IMPORT: dict[str, Set[str]] = {
    "events": BASE,
    "native": BASE,
    "folds": BASE | {"events", "kafka", "native"},
    "schema_registry": BASE | {"events"},
    "security": BASE,
    "kafka": BASE,
    "settings": BASE | {"events", "kafka", "native"},
    "engine": BASE | {"kafka", "native"},
    "topics": PRODUCT | {"engine"},
    "gateway": PRODUCT | {"security"},
    "keep_alive": PRODUCT | {"engine"},
    "ticking": PRODUCT | {"engine", "keep_alive"},
    "worker": PRODUCT | {"engine", "gateway", "keep_alive", "ticking", "topics"},
    "bridge": PRODUCT | {"engine", "security", "topics"},
    "client": BASE | {"events", "kafka"},
    "operate": PRODUCT | {"client", "engine", "security", "topics"},
    "cli": PRODUCT | {"bridge", "client", "engine", "operate", "security", "topics"},
    "app": BASE | {"cli", "settings", "worker"},
    "__main__": {"cli"},
    "lab": PRODUCT
    | {"bridge", "client", "cli", "engine", "gateway", "operate", "security", "topics", "worker"},
}
"""By room: a package in `streams`, or a module beside them."""

PURE = {"events", "folds", "security"}
"""Rooms that compute: no Kafka, no HTTP, no database."""
ENGINE_ALONE = {"aiohttp", "prometheus_client", "fastavro", "jwt"}
"""What the engine does not know: HTTP, metrics, events, tokens."""
EFFECTS = {"faust", "mode", "aiohttp", "aiokafka", "confluent_kafka", "rocksdict"}


class Import(NamedTuple):
    """One module importing another one."""

    importer: str
    imported: str
    when: str
    """`load`, `call` inside a function, or `types` for the type checker only."""


def _imports(node: ast.AST, when: str = "load") -> Iterator[tuple[str, str]]:
    """Yield (name, when) of every import below a node."""
    for child in ast.iter_child_nodes(node):
        inside = when
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            inside = "types"
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and when == "load":
            inside = "call"
        elif isinstance(child, ast.Import):
            yield from ((alias.name, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0
            yield from ((f"{child.module}.{alias.name}", when) for alias in child.names)
        yield from _imports(child, inside)


@cache
def modules() -> dict[str, Path]:
    found = {}
    for file in ROOT.rglob("*.py"):
        parts = file.relative_to(ROOT.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports() -> tuple[list[Import], dict[str, set[str]]]:
    """Return the imports between modules, and by module those of other distributions."""
    inner: list[Import] = []
    outer: dict[str, set[str]] = defaultdict(set)
    for module, file in modules().items():
        for name, when in _imports(ast.parse(file.read_text())):
            if name.partition(".")[0] != "streams":
                outer[module].add(name.partition(".")[0])
                continue
            while name not in modules():
                name = name.rpartition(".")[0]
            if name != module:
                inner.append(Import(module, name, when))
    return inner, outer


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def circles(graph: Mapping[str, Set[str]]) -> list[set[str]]:
    """Return the modules that reach each other, by Kosaraju's two passes."""
    order: list[str] = []
    reversed_graph: dict[str, set[str]] = defaultdict(set)
    for module, imported in graph.items():
        for one in imported:
            reversed_graph[one].add(module)

    def reach(start: str, edges: Mapping[str, Set[str]], seen: set[str]) -> list[str]:
        found, stack = [], [(start, iter(edges.get(start, ())))]
        seen.add(start)
        while stack:
            module, following = stack[-1]
            for one in following:
                if one not in seen:
                    seen.add(one)
                    stack.append((one, iter(edges.get(one, ()))))
                    break
            else:
                stack.pop()
                found.append(module)
        return found

    seen: set[str] = set()
    for module in graph:
        if module not in seen:
            order += reach(module, graph, seen)
    seen = set()
    parts = [reach(m, reversed_graph, seen) for m in reversed(order) if m not in seen]
    return [set(part) for part in parts if len(part) > 1]


def graph(*whens: str) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {module: set() for module in modules()}
    for one in imports()[0]:
        if one.when in whens:
            edges[one.importer].add(one.imported)
    return edges


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_no_circle_when_modules_are_loaded() -> None:
    assert circles(graph("load")) == []


def test_a_circle_for_types_or_calls_stays_within_one_package() -> None:
    for circle in circles(graph("load", "call", "types")):
        packages = {module.rpartition(".")[0] for module in circle}
        assert len(packages) == 1, sorted(circle)


def test_the_gateways_parts_import_in_no_circle() -> None:
    for circle in circles(graph("load", "call", "types")):
        assert not {m for m in circle if room(m) == "gateway" and ".streaming." not in m}, sorted(
            circle
        )


@pytest.mark.parametrize("importer", sorted({room(module) for module in modules()} - {""}))
def test_a_room_imports_only_what_it_may(importer: str) -> None:
    allowed = BASE if importer in BASE else MAY_IMPORT[importer]
    wrong = {
        (one.importer, one.imported)
        for one in imports()[0]
        if room(one.importer) == importer and room(one.imported) not in allowed | {importer, ""}
    }

    assert not wrong


def test_the_table_lists_the_rooms_that_there_are() -> None:
    assert set(MAY_IMPORT) | BASE == {room(module) for module in modules()} - {""}


def test_only_the_lab_and_faust_import_commands() -> None:
    importers = {one.importer for one in imports()[0] if room(one.imported) == "cli"}

    assert {room(module) for module in importers} <= {"__main__", "app", "cli", "lab"}
    assert {m for m in importers if room(m) == "lab"} <= {
        m for m in modules() if m.startswith("streams.lab.cli.") or m == "streams.lab.faults.worker"
    }


def test_pure_rooms_and_the_engine_keep_to_their_libraries() -> None:
    for module, libraries in imports()[1].items():
        if room(module) in PURE:
            assert not libraries & EFFECTS, module
        if room(module) == "engine":
            assert not libraries & ENGINE_ALONE, module
        if room(module) == "gateway":
            assert not libraries & {"faust", "rocksdict"}, module


@pytest.mark.parametrize(
    ("package", "heavy"),
    [
        ("streams.client", {"faust", "rocksdict", "confluent_kafka"}),
        ("streams.fold", {"faust", "rocksdict", "confluent_kafka", "aiohttp"}),
        ("streams.folds.deliver", {"faust", "rocksdict", "confluent_kafka", "aiohttp"}),
    ],
)
def test_an_import_loads_nothing_heavy(package: str, heavy: set[str]) -> None:
    code = f"import {package}, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    assert package in loaded
    assert not heavy & {name.partition(".")[0] for name in loaded}
