"""The engine imports nothing of the product."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import streams.engine
from streams.engine import EngineOptions, Topic
from streams.engine.topics import needed_topics

ROOT = Path(__file__).parents[3] / "streams"
SHARED = {
    "streams",
    "streams.amounts",
    "streams.child_process",
    "streams.data_folder",
    "streams.errors",
    "streams.fold",
    "streams.pauses",
    "streams.repeats",
}
"""Modules outside the engine and Kafka that the engine may import."""
KAFKA = {f"streams.kafka.{name}" for name in ("clients", "defaults", "errors", "topics")}

CORE = {f"streams.native{name}" for name in ("", ".fans", ".kafka", ".library", ".runs")}
"""The native core: the engine uses its rows, the product's folds the rest."""


def imported(module: str) -> set[str]:
    """Return the modules of this package that a module imports, in functions too."""
    path = ROOT / Path(*module.split(".")[1:])
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.split(".")[0] == "streams"}


def test_the_engine_imports_no_module_of_the_product() -> None:
    left = [f"streams.engine.{path.stem}" for path in (ROOT / "engine").glob("*.py")]
    left[left.index("streams.engine.__init__")] = "streams.engine"
    seen: set[str] = set()
    while left:
        module = left.pop()
        if module not in seen:
            seen.add(module)
            left += imported(module)

    others = {name for name in seen if not name.startswith("streams.engine")}
    assert others <= SHARED | KAFKA | CORE
    assert "streams.kafka.topics" in others  # the walk has gone somewhere


def test_all_public_names_are_there_and_explained() -> None:
    for name in streams.engine.__all__:
        assert getattr(streams.engine, name).__doc__, name


def test_the_package_loads_neither_faust_nor_a_client_of_kafka() -> None:
    code = (
        "import json, sys; from streams.engine import Record, Rows; import streams.engine.testing;"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout

    assert not {"faust", "confluent_kafka", "rocksdict", "aiokafka"} & set(json.loads(shown))


def test_topics_are_derived_from_the_tables() -> None:
    own = Topic("words", 4, 1, {"retention.ms": "-1"})
    target = Topic("totals", 2, 1)
    options = EngineOptions(app_id="app", partitions=4, topics=(own, target))

    found = {topic.name: topic for topic in needed_topics(options, ["words", "more"], ["counts"])}

    assert list(found) == ["words", "more", "app-dead-letters", "app-counts-changelog", "totals"]
    assert found["words"] is own
    assert found["more"].config["message.timestamp.type"] == "LogAppendTime"
    assert found["app-counts-changelog"].config["cleanup.policy"] == "compact"


def test_a_worker_has_the_same_name_after_a_restart_and_another_one_elsewhere() -> None:
    def member(folder: str) -> str:
        return EngineOptions(app_id="app", data=Path(folder)).member_id

    assert member("/one") == member("/one")
    assert member("/one") != member("/two")
    assert member("/one").startswith("app-")
