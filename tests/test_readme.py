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


def test_what_is_named_exists():
    """In the README and on the page that says what is where."""
    text = TEXT + (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w/.])bundles/\w+(?:/configs/\w+\.json)?|(?<=`)monai_cavga/[\w/.]+(?=`)", text)
    assert len(named) > 20
    for path in named:
        assert (ROOT / path).exists(), path


def test_the_readme_is_a_front_door():
    """Picture, two commands, ten lines and one table of results before the costs; the rest is linked."""
    places = [TEXT.index(each) for each in ("lesions.png)", "make demo ", "make test ", "```python", "## Results")]
    assert places == sorted(places)
    assert len(TEXT.splitlines()) < 160
    assert sum(line.startswith("|---") for line in TEXT.splitlines()) == 2  # results and costs
