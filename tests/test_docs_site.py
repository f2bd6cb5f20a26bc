"""The documents: links resolve, Python runs, commands are right, figures are the measured ones, and the site builds."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import command_line
import pictures
import pytest
import torch
from markdown_text import anchors, code_blocks, links, run_python, shell_commands
from notebooks import to_markdown
from tiny_bundle import write_bundle

from monai_cavga.__main__ import _make_parser, main
from monai_cavga.bundle.command_line import read_configs
from monai_cavga.bundle.directory import config_files, folder_problem, key_problem
from monai_cavga.bundle.words import split_words

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
FOLDERS = ("docs", "bundles", "benchmarks", "tutorials", "tests")
FILES = [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
FILES += (ROOT / "tutorials").glob("[0-9]*.ipynb")
RESULTS = ROOT / "benchmarks" / "results"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(path: Path) -> str:
    return to_markdown(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")


# --- Markdown as text ---


def test_links_and_headings_are_told_from_code() -> None:
    """hand."""
    text = "# A `b` c_d\n[x](y.md#z) `[no](code)` ![p](p.png) [w](https://w)\n"
    text += "```\n# no\n[no](n)\n```\n## A b, c_d!\n# x\n# x\n"
    assert [(link.path, link.anchor) for link in links(text)] == [("y.md", "z"), ("p.png", "")]
    assert anchors(text) == {"a-b-c_d", "a-b-c_d_1", "x", "x_1"}
    assert code_blocks("a\n\n```python\nb\n```\n", "python") == [("python", "b\n", 4)]


def test_a_notebook_as_markdown(tmp_path: Path) -> None:
    """hand: text, code, what it printed, a picture; an empty cell leaves nothing."""
    picture = {"output_type": "display_data", "data": {"image/png": "QUJD\n", "text/plain": "<Figure>"}}
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "words"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"output_type": "stream", "text": ["1\n"]}, picture]},
        {"cell_type": "code", "source": [], "outputs": []},
    ]
    path = tmp_path / "a.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    expected = (
        "# Title\nwords\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n\n![Output](data:image/png;base64,QUJD)\n"
    )
    assert to_markdown(path) == expected


# --- links ---


@pytest.mark.parametrize("path", FILES, ids=name)
def test_links_of_the_repository_resolve(path: Path) -> None:
    text = text_of(path)
    for link in links(text):
        target = (path.parent / link.path).resolve() if link.path else path
        assert target.exists(), f"{name(path)} links to {link.target}, which is not there"
        if link.anchor:
            there = anchors(text_of(target))
            assert link.anchor in there, f"{name(path)} links to {link.target}, whose headings are {sorted(there)}"


# --- code and commands ---


def prepare_export(folder: Path) -> dict[str, Any]:
    """What docs/export.md has before its block: an exported bundle and a batch."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    bundle = write_bundle(folder / "bundles" / "idrid")
    assert main(["export", "--bundle", str(bundle), "--maps", "['fused']"]) == 0
    return {"batch": torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)).numpy()}


PREPARED = {"docs/export.md": prepare_export}


WITH_PYTHON = [
    pytest.param(path, marks=pytest.mark.slow if name(path) in PREPARED else ())
    for path in DOCS
    if code_blocks(text_of(path), "python")
]


@pytest.mark.parametrize("path", WITH_PYTHON, ids=name)
def test_python_of_the_documents_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = PREPARED[name(path)](tmp_path) if name(path) in PREPARED else {}
    before = set(names)
    assert set(run_python(code_blocks(text_of(path), "python"), file=name(path), names=names)) > before


def test_the_threshold_page_finds_what_its_comments_say() -> None:
    """hand: one of ten normals lies above, three of four anomalous images do."""
    path = ROOT / "docs" / "how_to" / "threshold.md"
    names = run_python(code_blocks(text_of(path), "python"), file=name(path))
    assert (names["normals"] > names["threshold"]).mean() == 0.1
    assert names["found"] == names["oracle"] == 0.75


PAGES = [path for path in [ROOT / "README.md", *DOCS] if shell_commands(text_of(path))]


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_of_the_documents_are_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in shell_commands(text_of(path)):
        words = shlex.split(command, comments=True)
        for file in re.findall(r"\b(?:bundles|benchmarks|tutorials)/[\w/]+\.(?:json|py)\b", command):
            assert (ROOT / file).is_file(), command
        if words[0] == "python" and words[1].endswith(".py"):
            check_script(words[1:], monkeypatch)
        elif words[:2] == ["python", "-m"]:
            assert words[2] in ("monai_cavga", "monai.bundle"), f"{command}: teach this test to check it"
            args, rest = _make_parser().parse_known_args(words[3:])
            assert not rest or args.command in ("run", "calibrate", "export"), command
            check_overrides(args, rest, command)
        elif words[0] == "make":
            assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8"), command


class ParsedError(Exception):
    """A script's arguments are read and good; it goes no further."""


def check_script(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a script as far as its own parser."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *given: Any) -> None:
        parse(self, *given)
        raise ParsedError

    with monkeypatch.context() as changed:
        changed.setattr(argparse.ArgumentParser, "parse_args", stop)
        changed.setattr(sys, "argv", words)
        changed.syspath_prepend(str((ROOT / words[0]).parent))
        with pytest.raises(ParsedError):
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")


def test_a_scripts_wrong_option_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        check_script(["benchmarks/picture.py", "IDRID", "--colour"], monkeypatch)
    assert "--colour" in capsys.readouterr().err


def check_overrides(args: Any, rest: list[str], command: str) -> None:
    if args.command not in ("run", "calibrate"):
        return
    folder = ROOT / args.config
    assert not folder_problem(folder, args.run_id), command
    found = {word.key: word.value for word in split_words(rest)}
    problem = key_problem(read_configs(config_files(folder, args.run_id)), found, arguments=set())
    assert not problem, f"{command}: {problem}"


# --- figures ---


def figures(text: str) -> list[str]:
    return re.findall(r"(?<![\w.])[01]\.\d{3}\b", text)


WITH_RESULTS = [each for each in [ROOT / "README.md", *DOCS] if "benchmarks/results/" in text_of(each)]


@pytest.mark.parametrize("path", WITH_RESULTS, ids=name)
def test_figures_stand_in_the_results_that_are_linked_beside_them(path: Path) -> None:
    """A table's row: all in one line of the file it links to. A paragraph: each somewhere in the files it links to."""
    rows = re.findall(r"^\|.*\|$", text_of(path), re.MULTILINE)
    for row in rows:
        sources = sources_of(row, path)
        if figures(row) and sources:
            lines = [line for source in sources for line in source.splitlines()]
            assert any(set(figures(row)) <= set(figures(line)) for line in lines), row
    prose = re.sub(r"^\|.*\|$", "", text_of(path), flags=re.MULTILINE)
    for paragraph in re.split(r"\n\n|\n(?=- )", prose):
        sources = sources_of(paragraph, path)
        assert not sources or set(figures(paragraph)) <= set(figures("\n".join(sources))), paragraph


def sources_of(text: str, path: Path) -> list[str]:
    found = [(path.parent / link.path).resolve() for link in links(text) if "benchmarks/results/" in link.path]
    return [each.read_text(encoding="utf-8") for each in found if each.suffix == ".md"]


# --- what is generated ---


def test_the_command_line_page_is_current() -> None:
    text = command_line.PAGE.read_text(encoding="utf-8")
    assert text == command_line.page(), "run: python docs/tools/command_line.py"


@pytest.mark.parametrize("path", pictures.pictures(), ids=name)
def test_the_pictures_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pictures.pictures()[path], "run: python docs/tools/pictures.py"


def test_the_way_of_an_image_names_what_exists() -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "monai_cavga").rglob("*.py"))
    for box in pictures.WAY.values():
        last = box.name.split(".")[-1]
        assert last == "Resized" or re.search(rf"(def|class|self\.)\s*{last}\b", source), box.name


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path: Path) -> None:
    for package in ("material", "mkdocstrings", "latex2mathml"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install '.[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING -" not in done.stderr, done.stderr
    pages = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert len(pages) > 30
    for path, page in pages.items():
        assert not re.search(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*https?://", page), path
        assert "arithmatex" not in page, f"{path}: an equation was not turned into MathML"
    for notebook in (ROOT / "tutorials").glob("[0-9]*.ipynb"):
        assert f"{notebook.stem}.html" in pages[tmp_path / "site" / "tutorials" / "index.html"]
    assert "<math" in pages[tmp_path / "site" / "explanation" / "method.html"]
    assert "CAVGAObjective" in pages[tmp_path / "site" / "reference" / "losses.html"]
