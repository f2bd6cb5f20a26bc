"""What MkDocs does not do by itself: pages from outside docs/, their links, notebooks, and equations as MathML.

A page of the repository that is not in docs/ keeps its path below ``repository/`` on the site, and any other file that
a page links to is copied there. Links are written as they work in the repository and are turned into the site's.
"""

from __future__ import annotations

import html
import os.path
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from markdown_text import links
from mkdocs.structure.files import File, Files
from notebooks import to_markdown

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = "repository"
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "bundles/*/docs/README.md",
    "bundles/*/models/README.md",
    "benchmarks/results/*.md",
)
TUTORIALS = "tutorials/index.md"  # lists the notebooks that are there


def on_config(config: Any) -> Any:
    """Put the notebooks into the navigation."""
    (section,) = (each["Tutorials"] for each in config.nav if "Tutorials" in each)
    section.extend(site_path(path) for path in _notebooks())
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages of the repository, and what they and docs/ link to."""
    for pattern in PAGES:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, site_path(path), abs_src_path=str(path)))
    for path in _notebooks():
        files.append(File.generated(config, site_path(path), content=to_markdown(path)))
    for page in list(files.documentation_pages()):
        for path in _linked_files(page.content_string, repository_path(page.src_uri)):
            if files.get_file_from_path(site_path(path)) is None:
                files.append(File.generated(config, site_path(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Turn the repository's links into the site's."""
    here = page.file.src_uri
    if here == TUTORIALS:
        markdown += "\n" + "".join(f"- [{_title(path)}](../../tutorials/{path.name})\n" for path in _notebooks())
    for link in reversed(list(links(markdown))):
        if not link.path:
            continue
        path = Path(os.path.normpath(repository_path(here).parent / link.path))
        if path.is_dir() and (path / "README.md").is_file():
            path /= "README.md"
        target = os.path.relpath(site_path(path), os.path.dirname(here))
        anchor = f"#{link.anchor}" if link.anchor else ""
        markdown = markdown[: link.start] + target + anchor + markdown[link.end :]
    return markdown


def on_page_content(content: str, **_: Any) -> str:
    """Equations to MathML, which browsers show without any script."""
    content = re.sub(r'<span class="arithmatex">\\\((.+?)\\\)</span>', lambda found: _math(found[1], "inline"), content)
    pattern = r'<div class="arithmatex">\s*\\\[(.+?)\\\]\s*</div>'
    return re.sub(pattern, lambda found: _math(found[1], "block"), content, flags=re.DOTALL)


def site_path(path: Path) -> str:
    """Where a file of the repository stands on the site, relative to its root."""
    if path.suffix == ".ipynb":
        path = path.with_suffix(".md")
    inside = path.relative_to(ROOT)
    return Path(*inside.parts[1:]).as_posix() if inside.parts[0] == "docs" else f"{OUTSIDE}/{inside.as_posix()}"


def repository_path(uri: str) -> Path:
    """The inverse of `site_path`, but for the ending of a notebook."""
    return ROOT / uri.removeprefix(f"{OUTSIDE}/") if uri.startswith(f"{OUTSIDE}/") else ROOT / "docs" / uri


def _notebooks() -> list[Path]:
    return sorted(ROOT.glob("tutorials/[0-9]*.ipynb"))


def _title(path: Path) -> str:
    return re.search(r"^# (.+)$", to_markdown(path), re.MULTILINE)[1]  # type: ignore[index]


def _linked_files(text: str, page: Path) -> Iterator[Path]:
    for link in links(text):
        path = Path(os.path.normpath(page.parent / link.path))
        if link.path and path.is_file() and path.suffix != ".ipynb":
            yield path


def _math(latex: str, display: str) -> str:
    return convert(html.unescape(latex).strip(), display=display)
