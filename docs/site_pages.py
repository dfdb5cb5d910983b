"""Adds the pages at the top of the repository to the site, with links as the site has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to the files of the site (a hook of mkdocs)."""
    from mkdocs.structure.files import File

    for name in PAGES:
        text = (ROOT / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, name, content=text))
    return files
