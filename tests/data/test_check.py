from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from monai_cavga.data import check_data


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
    assert len(report.problems) == 4


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
