"""The 13-scene layout on a synthetic tree; films are encoded here."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from films import SIZE as FILM_SIZE
from films import number_of, numbered, write_film
from PIL import Image

from monai_cavga.data import DatasetNotFoundError, ImageReadError, mstc_items, read_image, read_mask, write_campus
from monai_cavga.data.clips import clip_length
from monai_cavga.data.mstc import Clip, is_mstc, list_clips
from monai_cavga.transforms.load import anomaly_mask

SIZE = (8, 12)  # H, W of the test frames: names and folders are what these tests are about
LENGTH = 12
LABELS = (0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0)


def write_frames(folder: Path, count: int = LENGTH) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.new("RGB", (SIZE[1], SIZE[0]), (k, 60, 30)).save(folder / f"{k:03d}.jpg")


@pytest.fixture
def campus_dir(tmp_path: Path) -> Path:
    """Training clips 1 to 4 of scenes 1 to 13, unpacked; one test clip of scenes 1 to 12, scene 2's masks H, W, T."""
    root = tmp_path / "shanghaitech"
    for scene in range(1, 14):
        for number in range(1, 5):
            write_frames(root / f"training/frames/{scene:02d}_{number:03d}")
        if scene == 13:
            continue
        name = f"{scene:02d}_{scene + 10:04d}"
        write_frames(root / f"testing/frames/{name}")
        masks = np.zeros((LENGTH, *SIZE), np.uint8)
        for k, label in enumerate(LABELS):
            masks[k, :3, :k] = label
        for kind, values in (
            ("test_pixel_mask", masks.transpose(1, 2, 0) if scene == 2 else masks),
            ("test_frame_mask", np.array(LABELS, np.uint8)),
        ):
            path = root / "testing" / kind / f"{name}.npy"
            path.parent.mkdir(exist_ok=True)
            np.save(path, values)
    return root


def test_thirteen_scenes(campus_dir: Path) -> None:
    training, validation, test = (mstc_items(campus_dir, s) for s in ("training", "validation", "test"))
    # hand: 12 frames at every 5th are frames 0, 5, 10; of 52 training clips 10 are held out
    assert [len(training), len(validation), len(test)] == [42 * 3, 10 * 3, 12 * 3]
    assert {int(item["name"].split("_")[1]) for item in training + validation} == set(range(1, 14))
    assert {int(item["name"].split("_")[1]) for item in test} == set(range(1, 13))
    assert [item["name"] for item in test[:3]] == ["test_01_0011_000", "test_01_0011_005", "test_01_0011_010"]
    assert [item["label"] for item in test[:3]] == [0, 1, 1]
    assert sum(item["label"] for item in training + validation) == 0
    assert len({item["name"] for item in training + validation + test}) == 192
    assert mstc_items(campus_dir.parent, "test") == test  # the folder above will do
    (campus_dir / "training/frames/notes").mkdir()
    (campus_dir / "training/frames/.DS_Store").touch()
    assert mstc_items(campus_dir, "training") == training


def test_the_scene_is_the_number_before_the_underscore(campus_dir: Path) -> None:
    for scene in (7, "7", "07"):
        items = mstc_items(campus_dir, "training", scene=scene)
        assert len(items) == 9
        assert {item["name"][:11] for item in items} == {"training_07"}
    with pytest.raises(DatasetNotFoundError, match=r"missing: test clips of scene 13; scenes there: 1, 2, .*12\)"):
        mstc_items(campus_dir, "test", scene=13)
    for scene in ("seven", -1, 1.5):
        with pytest.raises(ValueError, match="expected a number such as 1, or 'all'"):
            mstc_items(campus_dir, "test", scene=scene)  # type: ignore[arg-type]


def test_validation_holds_out_whole_clips(campus_dir: Path) -> None:
    parts = [mstc_items(campus_dir, s, scene=3, validation_fraction=0.5) for s in ("training", "validation")]
    clips = [{item["patient"] for item in part} for part in parts]
    assert [len(part) for part in clips] == [2, 2]
    assert not clips[0] & clips[1]
    drawn = {
        frozenset(each["patient"] for each in mstc_items(campus_dir, "validation", scene=3, seed=seed))
        for seed in range(9)
    }
    assert len(drawn) > 1
    with pytest.raises(ValueError, match="of 4 training clips leaves none for validation"):
        mstc_items(campus_dir, "validation", scene=3, validation_fraction=0)


@pytest.mark.parametrize(("every", "frames"), [(1, list(range(12))), (5, [0, 5, 10]), (7, [0, 7]), (99, [0])])
def test_every(campus_dir: Path, every: int, frames: list[int]) -> None:
    items = mstc_items(campus_dir, "test", scene=1, every=every)
    assert [int(item["name"][-3:]) for item in items] == frames
    assert [item["label"] for item in items] == [LABELS[k] for k in frames]


def test_every_of_nothing(campus_dir: Path) -> None:
    with pytest.raises(ValueError, match="every is 0, expected 1 or more: 5 is the paper's"):
        mstc_items(campus_dir, "test", every=0)


@pytest.mark.parametrize("scene", [1, 2])
def test_masks_belong_to_their_frames_in_both_orders(campus_dir: Path, scene: int) -> None:
    for item in mstc_items(campus_dir, "test", scene=scene, every=1):
        k = int(item["name"][-3:])
        assert bool(item["mask_files"]) == bool(LABELS[k])
        expected = np.zeros(SIZE, np.int8)
        expected[:3, :k] = LABELS[k]
        fov = np.ones(read_image(item["image"]).shape[:2], bool)
        np.testing.assert_array_equal(anomaly_mask(item["mask_files"], item["label"], fov=fov), expected)


def test_labels_without_masks_and_masks_without_labels(campus_dir: Path) -> None:
    both = mstc_items(campus_dir, "test", every=1)
    shutil.move(campus_dir / "testing/test_frame_mask", campus_dir / "labels")
    assert mstc_items(campus_dir, "test", every=1) == both
    shutil.rmtree(campus_dir / "testing/test_pixel_mask")
    with pytest.raises(ValueError, match=r"no labels of .*01_0011, expected .*test_frame_mask.*or .*test_pixel_mask"):
        mstc_items(campus_dir, "test")
    shutil.move(campus_dir / "labels", campus_dir / "testing/test_frame_mask")
    labelled = mstc_items(campus_dir, "test", every=1)
    assert [item["label"] for item in labelled] == [item["label"] for item in both]
    assert {item["mask_files"] for item in labelled} == {""}


def test_labelled_frames_leave_the_test_set(campus_dir: Path) -> None:
    test = mstc_items(campus_dir, "test")  # hand: 24 anomalous frames
    weak, fewer = (mstc_items(campus_dir, s, labelled=0.25) for s in ("training", "test"))
    moved = [item for item in weak if item["label"]]
    assert len(moved) == 6
    assert all(item["mask_files"] for item in moved)
    assert sorted(item["name"] for item in moved + fewer) == sorted(item["name"] for item in test)
    assert len(mstc_items(campus_dir, "training", labelled=0.02)) == len(weak) - 5
    with pytest.raises(ValueError, match="labelled is 25, expected 0 to 24"):
        mstc_items(campus_dir, "training", labelled=25)


@pytest.fixture
def films_dir(campus_dir: Path) -> Path:
    """Scene 1 as its owners give it out: training clips as films."""
    for number in range(1, 5):
        shutil.rmtree(campus_dir / f"training/frames/01_{number:03d}")
        write_film(campus_dir / f"training/videos/01_{number:03d}.avi", numbered(10 * number + 1))
    (campus_dir / "training/videos/readme.txt").touch()
    return campus_dir


def test_films_are_listed_and_read_where_they_lie(films_dir: Path) -> None:
    before = {path.relative_to(films_dir) for path in films_dir.rglob("*")}
    items = mstc_items(films_dir, "training", scene=1, validation_fraction=0)
    assert Counter(item["patient"] for item in items) == {"01_001": 3, "01_002": 5, "01_003": 7, "01_004": 9}
    for item in items:
        pixels = read_image(item["image"])
        assert pixels.shape == (*FILM_SIZE, 3)
        assert number_of(pixels) == int(item["name"][-3:])
    assert items[-1]["name"] == "training_01_004_040"
    assert items[-1]["image"] == str(films_dir / "training/videos/01_004.avi#frame=40")
    assert {path.relative_to(films_dir) for path in films_dir.rglob("*")} == before
    validation = mstc_items(films_dir, "validation", scene="all")
    assert any(".avi#frame=" in item["image"] for item in mstc_items(films_dir, "training") + validation)


def test_only_the_films_of_a_section_are_opened(films_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def length(path: Path) -> int:
        opened.append(path.stem)
        return clip_length(path)

    monkeypatch.setattr("monai_cavga.data.mstc.clip_length", length)
    held_out = {item["patient"] for item in mstc_items(films_dir, "validation", scene=1, validation_fraction=0.25)}
    assert opened == list(held_out)


def test_unpacked_clips_win_over_films(films_dir: Path) -> None:
    write_frames(films_dir / "training/frames/01_002")
    clips = {clip.name: clip for clip in list_clips(films_dir, "training", scene=1)}
    assert clips["01_002"].path.is_dir()
    assert clips["01_003"].path.suffix == ".avi"
    assert not list((films_dir / "training/frames").glob("01_003"))


def test_what_is_damaged_or_missing_is_named(films_dir: Path) -> None:
    film = films_dir / "training/videos/01_003.avi"
    film.write_bytes(b"no film")
    with pytest.raises(ImageReadError, match=r"01_003\.avi: got Invalid"):
        mstc_items(films_dir, "training", scene=1, validation_fraction=0)
    testing = films_dir / "testing"
    (testing / "test_pixel_mask/01_0011.npy").write_bytes(b"no array")
    with pytest.raises(ImageReadError, match=r"test_pixel_mask.01_0011\.npy: got ValueError"):
        mstc_items(films_dir, "test", scene=1)
    (testing / "test_pixel_mask/03_0013.npy").unlink()
    with pytest.raises(ImageReadError, match=r"test_pixel_mask.03_0013\.npy: got no such file"):
        mstc_items(films_dir, "test", scene=3)
    np.save(testing / "test_frame_mask/04_0014.npy", np.zeros(11, np.uint8))
    with pytest.raises(ImageReadError, match=r"04_0014\.npy: got an array of shape \(11,\), expected \(12,\)"):
        mstc_items(films_dir, "test", scene=4)
    (testing / "frames/05_0015/011.jpg").unlink()
    with pytest.raises(ImageReadError, match=r"05_0015\.npy: got an array of shape \(12, 8, 12\).*has 11 frames"):
        mstc_items(films_dir, "test", scene=5)
    (testing / "frames/06_0016/007.jpg").unlink()
    with pytest.raises(ValueError, match="06_0016 has frame 008 after 006, expected numbers without a gap"):
        mstc_items(films_dir, "test", scene=6)
    (testing / "frames/07_0017/000.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageReadError, match=r"07_0017.000\.jpg"):
        mstc_items(films_dir, "test", scene=7)
    with pytest.raises(ValueError, match="no frames in"):
        Clip("01_001", testing).frames()


def test_not_the_campus(tmp_path: Path, campus_dir: Path, ped2_dir: Path) -> None:
    assert is_mstc(campus_dir)
    assert is_mstc(campus_dir.parent)
    assert not is_mstc(ped2_dir)
    (tmp_path / "copy/training/frames/01").mkdir(parents=True)  # of Ped2
    assert not is_mstc(tmp_path / "copy")
    with pytest.raises(DatasetNotFoundError, match=r"svip-lab\.github\.io.*phantoms DIR --kind mstc"):
        mstc_items(tmp_path / "absent", "test")
    shutil.rmtree(campus_dir / "testing")
    with pytest.raises(DatasetNotFoundError, match="missing: test clips of scene all; scenes there: none"):
        mstc_items(campus_dir, "test")


def test_phantoms_have_the_layout(tmp_path: Path) -> None:
    root = write_campus(tmp_path / "campus", normal=3, anomalous=1, size=(64, 80))
    training, validation, test = (mstc_items(root, s) for s in ("training", "validation", "test"))
    # hand: 2 scenes of 3 + 1 clips of 30 frames, 6 of each; the disc comes with frame 10
    assert [len(training), len(validation), len(test)] == [30, 6, 12]
    assert [item["label"] for item in test] == [0, 0, 1, 1, 1, 1] * 2
    assert all(read_mask(item["mask_files"]).any() for item in test if item["label"])
