"""The README's Python runs, and what its commands and links name exists."""

from __future__ import annotations

import re
from pathlib import Path

from markdown_text import code_blocks, run_python

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_ten_lines_run():
    (block,) = code_blocks(TEXT, "python")
    names = run_python([block], file="README.md")
    assert tuple(names["maps"].shape) == (2, 2, 128, 192)
    assert 0 <= float(names["maps"].detach().min()) <= float(names["maps"].detach().max()) <= 1
    assert names["network"].encoder.conv1.weight.grad is not None


def test_links_and_bundles_exist():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert len(links) >= 4
    for path in [
        *links,
        *re.findall(r"bundles/\w+(?:/configs/\w+\.json)?", TEXT),
        *re.findall(r"`(monai_cavga/[\w/.]+)`", TEXT),
    ]:
        assert (ROOT / path).exists(), path


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
