"""docs/clinical.md: its commands parse, it names every option and no other, and its figures are the measured ones."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from monai_cavga.__main__ import _make_parser
from monai_cavga.clinical.pacs.command import KINDS as PACS_KINDS
from monai_cavga.clinical.pacs.options import PASSWORD, USER
from monai_cavga.clinical.read import Limits
from monai_cavga.clinical.write import KINDS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "clinical.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m monai_cavga (.*)$", TEXT, re.MULTILINE)
RESULTS = ROOT / "benchmarks" / "results"


def options(command: str) -> set[str]:
    (commands,) = (each for each in _make_parser()._actions if each.dest == "command")
    found = {name for action in commands.choices[command]._actions for name in action.option_strings}
    return {name for name in found if name.startswith("--")} - {"--help", "--config"}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command):
    args = _make_parser().parse_args(shlex.split(command))
    assert (ROOT / args.bundle / "configs" / "inference.json").is_file()


def test_every_option_is_named_and_no_other():
    ours = options("localize") | options("pacs")
    words = set(re.findall(r"(?<![\w-])--[a-z]\w*", TEXT)) - {"--idrid", "--number"}  # of the benchmarks
    assert words == ours


def test_every_kind_is_described():
    assert tuple(re.findall(r"^\| `(\w+)` \| (?!every)", TEXT, re.MULTILINE)) == KINDS
    assert f"some of `{' '.join(PACS_KINDS)}`" in TEXT
    assert USER in TEXT
    assert PASSWORD in TEXT


def test_figures_of_the_quality_gate():
    groups = json.loads((RESULTS / "quality.json").read_text())["groups"]
    rows = re.findall(r"^\| (.+?) \| (\d+) of (\d+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 8
    for name, passed, images in rows:
        assert (groups[name]["pass"], groups[name]["images"]) == (int(passed), int(images)), name


def test_figures_of_hostile_files():
    found, text = json.loads((RESULTS / "hostile.json").read_text()), " ".join(TEXT.split())
    outcomes = found["outcomes"]
    assert f"{found['damaged']} damaged files among {found['good']} good ones" in text
    assert f"{outcomes['refused']} refused, {outcomes['cannot assess']} stopped by the quality gate" in text
    assert f"{outcomes['ok']} localised" in text
    assert found["good_localised"] == found["good"]
    assert f"{found['tracebacks']} tracebacks, {found['decoders_that_hung']} hangs" in text
    limits = Limits()
    assert f"{limits.seconds:g} s and {limits.memory >> 30} GiB" in text
    assert f"{limits.file_bytes >> 20} MiB of file and {limits.pixels // 10**6} million pixels" in text


def test_links_and_files_exist():
    links = [*re.findall(r"\]\(([^)#]+)\)", TEXT), *(f"../{each}" for each in re.findall(r"`(monai_cavga/\S+)`", TEXT))]
    assert len(links) >= 4
    for link in links:
        assert (ROOT / "docs" / link).exists(), link
