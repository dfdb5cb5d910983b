"""What the documents name exists: links, paths, modules, commands, options, settings, metrics."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from streams.cli.commands import cli
from streams.settings import describe

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
PAGES = sorted([*TOP, *DOCS.rglob("*.md")])
FOLDERS = ("streams", "schemas", "docs", "examples", "docker", "tests", "packaging", ".ci")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=_name)
every_page_but_the_changelog = pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=_name
)
"""The changelog also names what was removed."""
SUBPROTOCOLS = ("streams.v1", "streams.token.")


def prose(text: str) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the code of each block."""
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield found[1], found[2]


def code(text: str) -> Iterator[str]:
    """Yield what is written as inline code."""
    yield from re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(text))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page.read_text()), re.MULTILINE):
        plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
        found.add(re.sub(r"[-\s]+", "-", plain))
    return found


def broken_links(page: Path, text: str) -> list[str]:
    """Return the relative links of a page that lead nowhere."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    return broken


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


def test_a_broken_link_is_found() -> None:
    text = "[a](index.md) [b](nowhere.md) [c](index.md#no-such) ![d](figures/none.png)"

    assert broken_links(DOCS / "x.md", text) == [
        "nowhere.md",
        "index.md#no-such",
        "figures/none.png",
    ]


def test_every_page_is_in_the_navigation() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())

    def named(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for inner in entry if isinstance(entry, list) else entry.values():
                yield from named(inner)

    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert sorted(named(config["nav"])) == sorted([*pages, *(page.name for page in TOP[1:])])


@every_page_but_the_changelog
def test_paths_exist(page: Path) -> None:
    for text in code(page.read_text()):
        if re.fullmatch(rf"({'|'.join(FOLDERS)})(/[\w.-]+)+/?", text):
            assert (ROOT / text).exists(), text


@every_page_but_the_changelog
def test_modules_exist(page: Path) -> None:
    for text in code(page.read_text()):
        if re.fullmatch(r"streams(\.\w+)+", text) and not text.startswith(SUBPROTOCOLS):
            assert is_module_or_name(text), text


def is_module_or_name(dotted: str) -> bool:
    """Return whether a module, or a name of a module, is called so."""
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").exists():
        return True
    parent, _, name = dotted.rpartition(".")
    where = ROOT / parent.replace(".", "/")
    source = where / "__init__.py" if where.is_dir() else where.with_suffix(".py")
    return source.exists() and re.search(rf"\b{name}\b", source.read_text()) is not None


def test_that_check_can_fail() -> None:
    assert is_module_or_name("streams.client")
    assert is_module_or_name("streams.client.Client")
    assert not is_module_or_name("streams.nothing")
    assert not is_module_or_name("streams.client.Nothing")


def invocations(text: str) -> Iterator[str]:
    """Yield the `streams` commands of a page's blocks and inline code."""
    for language, block in blocks(text):
        if language in ("", "console"):
            joined = re.sub(r"\\\n\s*", " ", block)
            for line in joined.splitlines():
                words = re.sub(r"^\$ ", "", line).split("#")[0].strip()
                words = re.sub(r"^(\w+=\S+ )+", "", words).removeprefix(".venv/bin/")
                if words.startswith("streams "):
                    yield words
    for words in code(text):
        if words.startswith("streams "):
            yield words


def wrong_words(invocation: str) -> list[str]:
    """Return the words of an invocation that are no command or option of it."""
    command: click.Command = cli
    wrong, commands_end = [], False
    for word in invocation.split()[1:]:
        if isinstance(command, click.Group) and not commands_end:
            found = command.commands.get(word)
            if found is None:
                if word.startswith(("-", "[")) or word in ("...", "X"):
                    commands_end = True
                    continue
                return [word]
            command = found
        elif word.startswith("--"):
            known = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
            if word.split("=")[0] not in known | {"--help"}:
                wrong.append(word)
    return wrong


@every_page_but_the_changelog
def test_commands_and_options_exist(page: Path) -> None:
    for invocation in invocations(page.read_text()):
        assert wrong_words(invocation) == [], invocation


def test_a_wrong_command_or_option_is_found() -> None:
    assert wrong_words("streams queue set bob --max-length 3") == []
    assert wrong_words("streams nothing") == ["nothing"]
    assert wrong_words("streams queue nothing") == ["nothing"]
    assert wrong_words("streams read bob --nothing") == ["--nothing"]


@every_page_but_the_changelog
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text()
    lines = [line.removeprefix("$ ") for _, block in blocks(text) for line in block.splitlines()]
    for words in [*code(text), *lines]:
        if named := re.match(r"make ([a-z-]+)\b", words):
            assert named[1] in targets, words


@every_page_but_the_changelog
def test_settings_exist(page: Path) -> None:
    known = {setting.variable for setting in describe()}
    for name in re.findall(r"\bSTREAMS_[A-Z_]+\*?", page.read_text()):
        if name.endswith(("_", "*")):
            name = name.rstrip("*")
            assert any(one.startswith(name) for one in known), name
        else:
            assert name in known, name


@every_page_but_the_changelog
def test_metrics_exist(page: Path) -> None:
    known = (DOCS / "reference/metrics.md").read_text()
    for text in code(page.read_text()):
        if re.fullmatch(r"streams_[a-z_]+", text):
            assert f"`{text}`" in known, text


def test_the_readme_or_the_index_leads_to_every_page() -> None:
    readme, index = (ROOT / "README.md").read_text(), (DOCS / "index.md").read_text()
    for page in DOCS.rglob("*.md"):
        name = page.relative_to(DOCS).as_posix()
        assert f"(docs/{name})" in readme or f"({name})" in index, name


def test_the_coverage_that_is_required_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    floor = project["tool"]["coverage"]["report"]["fail_under"]

    assert f"below {floor} % of" in (ROOT / "CONTRIBUTING.md").read_text()


def test_settings_are_all_described() -> None:
    text = (DOCS / "reference/settings.md").read_text()
    for setting in describe():
        default = f"`{setting.default}`" if setting.default else ""
        assert f"| `{setting.variable}` | {default} | {setting.meaning} |" in text


@every_page
def test_python_compiles(page: Path) -> None:
    for language, block in blocks(page.read_text()):
        if language == "python" and page.parent.name != "reference":
            compile(block, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@every_page
def test_json_is_valid(page: Path) -> None:
    for language, block in blocks(page.read_text()):
        if language == "json":
            json.loads(block)


def test_the_site_builds(tmp_path: Path) -> None:
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: make docs installs it")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    build(config)
    assert (tmp_path / "explanation/architecture.html").exists()
    assert 'href="reference/compatibility.html"' in (tmp_path / "CHANGELOG.html").read_text()
