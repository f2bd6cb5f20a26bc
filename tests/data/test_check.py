from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from films import numbered, write_film
from PIL import Image

from monai_cavga.data import check_data, write_campus
from monai_cavga.data.layout import DatasetName


def test_complete_lag(make_lag: Callable[..., Path]) -> None:
    report = check_data(make_lag(), progress=False)
    assert report.ok
    assert report.exit_code == 0
    assert report.kind == "lag"
    assert report.counts["LAG_database_part_2/suspicious_glaucoma/attention_map"] == 4
    assert report.sections == {
        "training": "12 normal, 0 anomalous (0 with masks)",
        "validation": "3 normal, 0 anomalous (0 with masks)",
        "test": "5 normal, 8 anomalous (8 with masks)",
    }
    assert report.text().endswith("\nok")


def test_every_problem_of_lag_is_named(make_lag: Callable[..., Path]) -> None:
    root = make_lag()
    part = root / "LAG_database_part_1"
    (part / "non_glaucoma/image/3.jpg").write_bytes(b"no image")
    Image.new("L", (8, 12)).save(part / "suspicious_glaucoma/attention_map/0.png")  # sides exchanged
    (part / "suspicious_glaucoma/attention_map/1.png").write_bytes(b"")
    (part / "suspicious_glaucoma/image/2.jpg").unlink()
    (part / "suspicious_glaucoma/attention_map/3.png").unlink()
    shutil.rmtree(root / "LAG_database_part_2/suspicious_glaucoma/attention_map")
    report = check_data(root, progress=False)
    text = report.text()
    assert report.exit_code == 1
    assert len(report.problems) == 5
    for fragment in (
        "3.jpg: got UnidentifiedImageError",
        "0.png is 12 x 8 (H x W), expected 8 x 12",
        "1.png: got an empty file",
        "1 attention maps without image, such as 2",
        "missing folder:",
        "note: LAG_database_part_1: 1 anomalous images without attention map",
        "5 problems found",
    ):
        assert fragment in text


def test_bars_are_shown_unless_the_environment_says_no(make_lag: Callable[..., Path], tmp_path: Path) -> None:
    """As tqdm's own documents have it; the report itself goes to the other stream."""
    eyes = [str(tmp_path / "eyes"), "--normal", "1", "--anomalous", "1", "--size", "64", "96"]
    for command, title in ((["check-data", str(make_lag())], "check-data"), (["phantoms", *eyes], "phantoms")):
        for disabled, shown in ({}, True), ({"TQDM_DISABLE": "1"}, False):
            shutil.rmtree(tmp_path / "eyes", ignore_errors=True)
            environment = {key: value for key, value in os.environ.items() if not key.startswith("TQDM_")} | disabled
            words = [sys.executable, "-m", "monai_cavga", *command]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
            assert done.stdout
            assert (title in done.stderr) == shown
            assert shown or not done.stderr


def test_names_only(make_lag: Callable[..., Path]) -> None:
    root = make_lag()
    (root / "LAG_database_part_1/non_glaucoma/image/3.jpg").write_bytes(b"no image")
    assert check_data(root, decode=False).ok
    assert not check_data(root, progress=False).ok


def test_idrid(idrid_dir: Path) -> None:
    report = check_data(idrid_dir, progress=False)
    # the fixture lacks the folder's only file: soft exudates of the one training image; that is no problem
    assert report.problems == []
    assert report.kind == "idrid"
    assert "built-in list" in report.notes[0]
    assert report.sections["test"] == "2 normal, 4 anomalous (2 with masks)"
    shutil.rmtree(idrid_dir / "A. Segmentation")
    report = check_data(idrid_dir, progress=False)
    assert "training" in report.sections
    assert "test" not in report.sections
    assert any("ieee-dataport" in problem for problem in report.problems)


def test_a_plain_folder(tmp_path: Path) -> None:
    """hand: a fifth of six is 1."""
    own = tmp_path / "own"
    (own / "other").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "c.png", "d.png", "e.bmp", "f.tif", "other/g.png"):
        Image.new("RGB", (12, 8)).save(own / name)
    report = check_data(own, progress=False)
    assert (report.kind, report.problems) == ("plain", [])
    assert list(report.sections.values()) == [f"{n} normal, 0 anomalous (0 with masks)" for n in (5, 1)]
    text = report.text()
    assert "own: plain folder of images" in text
    assert "  6  images" in text
    assert "bundles/idrid runs calibrate and synthetic_training on it" in text
    (own / "f.tif").write_bytes(b"no image")
    (own / "b.png").write_bytes(b"")
    (problem,) = check_data(own, progress=False).problems
    assert "b.png and b.jpg share a stem" in problem or "b.jpg and b.png share a stem" in problem
    (own / "b.png").unlink()
    (problem,) = check_data(own, progress=False).problems
    assert "f.tif: got UnidentifiedImageError" in problem
    for name in ("b.jpg", "c.png", "d.png", "e.bmp", "f.tif"):
        (own / name).unlink()
    assert "of 1 normal images leaves none for validation" in check_data(own, progress=False).text()


def test_mvtad(mvtad_dir: Path) -> None:
    report = check_data(mvtad_dir, progress=False)
    assert report.ok
    assert report.kind == "mvtad"
    assert report.counts["felt/ground_truth/crack"] == 4
    assert report.sections["bolt test"] == "3 normal, 6 anomalous (6 with masks)"
    assert len(report.sections) == 6
    assert next(iter(check_data(mvtad_dir / "felt", progress=False).sections)) == "felt training"
    Image.new("L", (8, 12)).save(mvtad_dir / "bolt/ground_truth/crack/000_mask.png")  # sides exchanged
    (mvtad_dir / "felt/ground_truth/stain/001_mask.png").unlink()
    report = check_data(mvtad_dir, progress=False)
    assert len(report.problems) == 2
    assert "has no mask" in report.problems[0]
    assert "12 x 8 (H x W), expected 8 x 12" in report.problems[1]


def test_ped2(ped2_dir: Path) -> None:
    report = check_data(ped2_dir, progress=False)
    assert report.ok
    assert report.kind == "ped2"
    assert report.counts["training_05"] == 5
    assert report.sections["test"] == "4 normal, 4 anomalous (0 with masks)"
    (ped2_dir / "Train/Train002/003.tif").write_bytes(b"no image")
    shutil.rmtree(ped2_dir / "Test")
    problems = check_data(ped2_dir, progress=False).problems
    assert len(problems) == 2
    assert "missing: Test" in problems[0]
    assert "003.tif: got UnidentifiedImageError" in problems[1]


def test_mstc(tmp_path: Path) -> None:
    root = write_campus(tmp_path, normal=3, anomalous=1, size=(64, 96))
    shutil.rmtree(root / "shanghaitech/training/frames/01_003")
    film = write_film(root / "shanghaitech/training/videos/01_003.avi", numbered(40))
    report = check_data(root, progress=False)
    assert report.ok
    assert report.kind == "mstc"
    assert report.counts["training clips of scene 1"] == 3
    assert report.sections["test"] == "4 normal, 8 anomalous (8 with masks)"
    film.write_bytes(b"no film")
    (root / "shanghaitech/training/frames/02_001/010.jpg").write_bytes(b"no image")
    testing = root / "shanghaitech/testing"
    (testing / "frames/01_0004/015.jpg").write_bytes(b"no image")
    (testing / "test_pixel_mask/02_0004.npy").unlink()
    report = check_data(root, progress=False)
    for fragment in (
        "01_003.avi: got InvalidDataError",
        "010.jpg: got UnidentifiedImageError",
        "015.jpg: got UnidentifiedImageError",
        "02_0004.npy: got no such file",
    ):
        assert sum(fragment in problem for problem in report.problems) == 1, fragment
    assert len(report.problems) == 4


def test_films_without_the_library_are_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        write_film(tmp_path / f"training/videos/01_{number:03d}.avi", numbered(3))
    (tmp_path / "testing").mkdir()
    monkeypatch.setitem(sys.modules, "av", None)
    problems = check_data(tmp_path, progress=False).problems
    assert len(problems) == 2
    assert "pip install 'av>=16'" in problems[0]
    assert "missing: test clips of scene all" in problems[1]


def test_two_files_of_one_stem_are_a_problem_not_a_crash(make_lag: Callable[..., Path]) -> None:
    root = make_lag()
    Image.new("L", (3, 2)).save(root / "LAG_database_part_1/non_glaucoma/image/3.png")
    report = check_data(root, progress=False)
    assert any("share a stem" in problem for problem in report.problems)


def test_neither(tmp_path: Path) -> None:
    report = check_data(tmp_path)
    assert report.exit_code == 1
    assert "github.com/smilell/AG-CNN" in report.text()
    assert "ieee-dataport.org" in report.text()
    assert len(report.problems) == len(get_args(DatasetName))


def test_long_reports_are_cut(tmp_path: Path) -> None:
    report = check_data(tmp_path)
    report.problems = [f"p{k}" for k in range(25)]
    assert "... and 5 more problems" in report.text()


@pytest.mark.slow
def test_real_idrid(shared_dir: Path) -> None:
    report = check_data(shared_dir / "data" / "idrid", progress=False)
    assert report.problems == []
    assert report.sections["test"] == "34 normal, 96 anomalous (27 with masks)"
    assert sum(n for name, n in report.counts.items() if "Original" in name) == 597
