from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from monai_cavga.data import DatasetNotFoundError, ped2_items
from monai_cavga.data.ped2 import LABELS, is_ped2, read_frame_labels


def labels(items: list) -> dict[str, int]:  # type: ignore[type-arg]
    return {item["name"]: item["label"] for item in items}


@pytest.fixture
def copy_dir(ped2_dir: Path, tmp_path: Path) -> Path:
    """The other layout: frames counted from 0, labels in a file."""
    root = tmp_path / "copy"
    rows = ["frame,abnormal"]
    for subset, source in (("training", "Train"), ("testing", "Test")):
        for clip in sorted((ped2_dir / source).glob("T*[0-9]")):
            number = f"{int(clip.name[-3:]):02d}"
            for frame in sorted(clip.glob("[0-9]*.tif")):
                place = root / subset / "frames" / number / f"{int(frame.stem) - 1:03d}.tif"
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(frame, place)
                rows.append(f"{place.relative_to(root).as_posix()},{int(place.stem == '179')}")
    (root / LABELS).write_text("\n".join(rows) + "\n")
    return root


def test_owners_layout(ped2_dir: Path) -> None:
    test = ped2_items(ped2_dir, "test")
    # hand: the owners' ranges, first and last anomalous frame counted from 1
    assert labels(test) == {
        "test_01_001": 0,
        "test_01_060": 0,
        "test_01_061": 1,
        "test_01_180": 1,
        "test_02_094": 0,
        "test_02_095": 1,
        "test_12_087": 0,
        "test_12_088": 1,
    }
    assert {item["mask_files"] for item in test} == {""}
    assert ped2_items(ped2_dir.parent, "test") == test  # the folder above will do


def test_validation_holds_out_whole_clips(ped2_dir: Path) -> None:
    training, validation = (ped2_items(ped2_dir, s, validation_fraction=0.4) for s in ("training", "validation"))
    assert [len(training), len(validation)] == [15, 10]
    assert sum(labels(training + validation).values()) == 0
    assert not {item["patient"] for item in training} & {item["patient"] for item in validation}
    other = ped2_items(ped2_dir, "validation", validation_fraction=0.4, seed=1)
    assert labels(other) != labels(validation)
    with pytest.raises(ValueError, match="of 5 training clips leaves none for validation"):
        ped2_items(ped2_dir, "validation", validation_fraction=0)


def test_copy_layout(copy_dir: Path) -> None:
    test = labels(ped2_items(copy_dir, "test"))
    assert len(test) == 8
    assert [name for name, label in test.items() if label] == ["test_01_179"]
    assert len(ped2_items(copy_dir, "training", validation_fraction=0)) == 25


def test_copy_without_labels(copy_dir: Path) -> None:
    (copy_dir / LABELS).write_text("frame,abnormal\ntesting/frames/01/000.tif,0\n")
    with pytest.raises(ValueError, match=r"has no label of testing/frames/01/059\.tif"):
        ped2_items(copy_dir, "test")
    (copy_dir / LABELS).unlink()
    assert len(ped2_items(copy_dir, "validation")) == 5  # which needs no label
    with pytest.raises(DatasetNotFoundError, match=r"missing: frame_labels\.csv"):
        ped2_items(copy_dir, "test")


@pytest.mark.parametrize(
    ("text", "error"),
    [("frame,label\na,0\n", "expected frame and abnormal"), ("", "expected"), ("frame,abnormal\na,2\n", "is '2'")],
)
def test_bad_label_file(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / LABELS).write_text(text)
    with pytest.raises(ValueError, match=error):
        read_frame_labels(tmp_path)


def test_not_ped2(ped2_dir: Path, tmp_path: Path) -> None:
    assert is_ped2(ped2_dir)
    assert not is_ped2(tmp_path / "absent")
    with pytest.raises(DatasetNotFoundError, match=r"svcl.ucsd.edu.*phantoms DIR"):
        ped2_items(tmp_path / "absent", "test")
    shutil.rmtree(ped2_dir / "Test")
    with pytest.raises(DatasetNotFoundError, match="missing: Test"):
        ped2_items(ped2_dir, "test")


def test_strange_folders(ped2_dir: Path) -> None:
    (ped2_dir / "Test/Test012").rename(ped2_dir / "Test/Test013")
    with pytest.raises(ValueError, match="is test clip 13, expected 1 to 12"):
        ped2_items(ped2_dir, "test")
    (ped2_dir / "Train/notes").mkdir()
    shutil.copy(ped2_dir / "Train/Train001/001.tif", ped2_dir / "Train/notes")
    with pytest.raises(ValueError, match="notes has no number as its name"):
        ped2_items(ped2_dir, "training")


def test_no_frames(ped2_dir: Path) -> None:
    for frame in ped2_dir.glob("Train/*/*.tif"):
        frame.unlink()
    with pytest.raises(ValueError, match=r"no frames in .*Train"):
        ped2_items(ped2_dir, "training")


def test_real_counts(shared_dir: Path) -> None:
    root = shared_dir / "data" / "ped2"
    training, validation, test = (ped2_items(root, s) for s in ("training", "validation", "test"))
    assert len(training) + len(validation) == 255
    assert len({item["patient"] for item in validation}) == 3  # hand: 0.2 * 16 clips = 3.2
    assert [len(test), sum(labels(test).values())] == [402, 330]
