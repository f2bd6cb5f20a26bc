"""The notebooks: each is its text, small and without a place of a machine, and runs; and what builds them."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from dicom_files import dicom_image
from orthanc import orthanc
from pacs_fakes import encoded
from PIL import Image

from monai_cavga.data import phantom

TUTORIALS = Path(__file__).resolve().parents[2] / "tutorials"
SOURCES = sorted(TUTORIALS.glob("[0-9]*.py"))
each_tutorial = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)


@pytest.fixture(scope="module")
def build() -> Any:
    spec = importlib.util.spec_from_file_location("build_tutorials", TUTORIALS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def committed(source: Path) -> Any:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def cells(notebook: Any) -> list[tuple[str, str, str]]:
    return [(cell.id, cell.cell_type, cell.source) for cell in notebook.cells]


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def printed(notebook: Any) -> str:
    return "".join(output.get("text", "") for output in outputs(notebook))


def pictures(notebook: Any) -> int:
    return sum(any("image/" in kind for kind in output.get("data", {})) for output in outputs(notebook))


def exit_codes(notebook: Any) -> list[str]:
    return re.findall(r"^exit code \d+$", printed(notebook), re.MULTILINE)


def test_there_are_five() -> None:
    assert [source.stem[:2] for source in SOURCES] == ["01", "02", "03", "04", "05"]
    assert [path.stem for path in sorted(TUTORIALS.glob("*.ipynb"))] == [source.stem for source in SOURCES]


@each_tutorial
def test_the_notebook_is_its_text(source: Path, build: Any) -> None:
    assert cells(committed(source)) == cells(build.read(source)), "run `make tutorials`"


@each_tutorial
def test_the_notebook_was_run_and_is_fit_to_commit(source: Path, build: Any) -> None:
    notebook = committed(source)
    numbers = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert numbers == list(range(1, len(numbers) + 1))
    assert not [output for output in outputs(notebook) if output.output_type == "error"]
    assert pictures(notebook) >= 1
    build.check(source.with_suffix(".ipynb").read_text(encoding="utf-8"))


@pytest.mark.slow
@each_tutorial
def test_it_runs_on_phantoms(source: Path, build: Any, tmp_path: Path) -> None:
    """It draws as many pictures as the committed one, and its commands end as they did there."""
    notebook, before = build.read(source), committed(source)
    build.execute(notebook, tmp_path / "run")
    assert pictures(notebook) == pictures(before)
    assert exit_codes(notebook) == exit_codes(before)
    build.check(nbformat.writes(notebook))


@pytest.mark.slow
def test_pacs_against_orthanc(build: Any, tmp_path: Path) -> None:
    """The fourth, with an archive's address in its variable: what is said of the archive in memory holds there."""
    source = next(each for each in SOURCES if each.stem.startswith("04"))
    with orthanc(tmp_path / "orthanc") as archive:
        for number in (1, 2):
            pixels = phantom(number, size=(208, 320), lesions=number == 2)[0]
            archive.put(encoded(dicom_image(pixels=pixels, study=str(number))))
        notebook = build.read(source, data=archive.url)
        build.execute(notebook, tmp_path / "run")
        assert sorted(each.Modality for each in archive.objects()) == ["OP", "OP", "SEG", "SEG", "SR", "SR"]
    assert exit_codes(notebook) == ["exit code 0"] * 3
    assert printed(notebook).count("2 studies: 2 images stored and verified, 0 failures") == 2


# --- what builds them ---


def test_data_goes_into_its_line(build: Any, tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text("# %% [markdown]\n# DATA\n\n# %%\nDATA = None\nprint(DATA)\n")
    assert [(cell.id, cell.source) for cell in build.read(source, data="a'b").cells] == [
        ("cell-00", "DATA"),
        ("cell-01", 'DATA = "a\'b"\nprint(DATA)'),
    ]
    source.write_text("# %%\nDATA = None\nDATA = None\n")
    with pytest.raises(ValueError, match=r"x\.py has 2 lines 'DATA = None', expected one"):
        build.read(source)


def test_a_failing_cell_fails(build: Any, tmp_path: Path) -> None:
    source = tmp_path / "x.py"
    source.write_text("# %%\nDATA = None\nraise KeyError('lost')\n")
    with pytest.raises(Exception, match="lost"):
        build.execute(build.read(source), tmp_path / "run")


def test_what_is_kept_of_outputs(build: Any, tmp_path: Path) -> None:
    """hand: a bar and a warning go, a line stays, noise of 200 x 300 pixels becomes a JPEG, one pixel stays a PNG."""
    code = (
        "DATA = None\nimport sys, io\nimport numpy as np\nfrom PIL import Image\nfrom IPython.display import display\n"
        "print('50%|####| 1/2', file=sys.stderr, flush=True)\n"
    )
    noise = "display(Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)))"
    more = ["import warnings\nwarnings.warn('x')", "print('kept', file=sys.stderr)", noise, "Image.new('RGB', (3, 2))"]
    source = tmp_path / "x.py"
    source.write_text("# %%\n" + code + "".join(f"\n# %%\n{each}\n" for each in more))
    notebook = build.read(source)
    build.execute(notebook, tmp_path / "run")
    assert printed(notebook) == "kept\n"
    large, small = (output.data for output in outputs(notebook) if "data" in output)
    assert "image/png" not in large
    with Image.open(io.BytesIO(base64.b64decode(large["image/jpeg"]))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (300, 200))
    assert "image/png" in small
    assert (tmp_path / "run" / "bundles" / "idrid").is_dir()
    assert "language_info" not in notebook.metadata


def test_unfit_notebooks_are_refused(build: Any) -> None:
    def text(output: dict[str, Any]) -> str:
        return json.dumps({"cells": [{"cell_type": "code", "outputs": [output]}]})

    build.check(text({"text": "see maps/index.html and https://a.b/home/x"}))
    build.check(text({"data": {"image/png": "AA/tmp/BB", "text/plain": "fine"}}))
    for place in ("/home/me/x", "in /tmp/run/1", "'/work/y'", "C:\\Users\\me"):
        with pytest.raises(ValueError, match="an output names a path of this machine"):
            build.check(text({"text": place}))
    with pytest.raises(ValueError, match="bytes, expected at most 300000"):
        build.check(text({"text": "x" * 300_000}))


def test_the_command_writes_a_notebook(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "00_x.py"
    source.write_text("# %%\nDATA = None\nprint(6 * 7)\n")
    monkeypatch.setattr(build, "SOURCES", [source])
    monkeypatch.setattr(sys, "argv", ["build.py", "00_x"])
    build.main()
    assert "wrote tutorials/00_x.ipynb" in capsys.readouterr().out
    notebook = committed(source)
    assert printed(notebook) == "42\n"
    assert cells(notebook) == cells(build.read(source))
    monkeypatch.setattr(sys, "argv", ["build.py", "99_y"])
    with pytest.raises(SystemExit):
        build.main()
    assert "no tutorial 99_y: expected some of 00_x" in capsys.readouterr().err
