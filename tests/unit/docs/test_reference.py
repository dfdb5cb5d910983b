"""The generated pages are those that the code gives, and leave nothing out."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from streams.events.schema import folder
from streams.gateway.openapi.operations import OPERATIONS
from streams.gateway.routes import ROUTES

DOCS = Path(__file__).parents[3] / "docs"
REFERENCE = DOCS / "reference"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(generator: ModuleType) -> None:
    stale = [
        str(path.relative_to(DOCS))
        for path, text in generator.generate().items()
        if not path.exists() or path.read_text() != text
    ]

    assert stale == [], "run `make reference`"


def test_every_path_is_described() -> None:
    text = (REFERENCE / "http-operations.md").read_text()

    for route in ROUTES:
        described = OPERATIONS.get((route.template, route.method))
        if route.template.startswith("/v1/") and not (described and described.internal):
            assert f" {route.template}\n" in text, route.template


def test_every_event_is_described() -> None:
    text = (REFERENCE / "events.md").read_text()

    for schema in folder().glob("*.avsc"):
        assert f"\n### {schema.stem}\n" in text


def test_every_command_is_described(generator: ModuleType) -> None:
    text = (REFERENCE / "cli.md").read_text()

    for name in generator.commands():
        assert f"\n## streams {name}\n" in text


@pytest.mark.parametrize(
    ("module", "page"), [("streams.client", "python-client"), ("streams.engine", "engine")]
)
def test_every_public_name_is_described(module: str, page: str) -> None:
    text = (REFERENCE / f"{page}.md").read_text()

    for name in importlib.import_module(module).__all__:
        assert f"\n### {name}\n" in text


def test_headings_that_are_linked_to_are_unique() -> None:
    text = (REFERENCE / "http-operations.md").read_text()
    headings = [heading.lower() for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]

    for anchor in re.findall(r"\]\(#(\w+)\)", text):
        assert headings.count(anchor) == 1, anchor
