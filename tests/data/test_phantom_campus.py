from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cavga.data import write_campus
from monai_cavga.data.mstc import OWNERS_NAME
from monai_cavga.data.phantom_campus import campus_clip


def test_shape_and_seed() -> None:
    clip = campus_clip(3, 0, length=12, size=(70, 110), anomalous=True)
    assert clip.frames.shape == (12, 70, 110, 3)
    assert clip.masks.shape == (12, 70, 110)
    assert set(np.unique(clip.masks)) == {0, 1}
    np.testing.assert_array_equal(clip.frames, campus_clip(3, 0, length=12, size=(70, 110), anomalous=True).frames)
    assert (clip.frames != campus_clip(4, 0, length=12, size=(70, 110)).frames).any()


@pytest.mark.parametrize("seed", range(4))
def test_with_and_without_anomaly_differ_where_the_mask_is(seed: int) -> None:
    usual, strange = (campus_clip(seed, 1, anomalous=anomalous) for anomalous in (False, True))
    assert not usual.masks.any()
    np.testing.assert_array_equal(strange.masks.any(axis=(1, 2)), np.arange(30) >= 10)
    changed = (usual.frames != strange.frames).any(axis=3)
    assert not changed[strange.masks == 0].any()
    assert changed[strange.masks == 1].mean() > 0.9


def test_the_street_stays_and_people_walk() -> None:
    one, two = (campus_clip(seed, 0).frames.astype(float) for seed in (1, 2))
    other = campus_clip(1, 1).frames.astype(float)
    street = np.median(one, axis=0)
    assert np.abs(np.median(two, axis=0) - street).mean() < 3
    assert np.abs(np.median(other, axis=0) - street).mean() > 10
    moved = np.abs(one - street).max(axis=3) > 25
    assert 0.002 < moved.mean() < 0.2
    assert (moved[0] != moved[-1]).any()


def test_written_complete_or_not_at_all(tmp_path: Path) -> None:
    root = write_campus(tmp_path / "new", normal=1, anomalous=1, size=(64, 72), seed=5)
    assert [path.name for path in root.iterdir()] == [OWNERS_NAME]
    frames = sorted((root / OWNERS_NAME / "testing/frames/01_0002").iterdir())
    assert len(frames) == 30
    with Image.open(frames[0]) as image:
        assert image.size == (72, 64)
    clip = campus_clip(5 * 1_000_003 + 1, 0, size=(64, 72), anomalous=True)
    masks = np.load(root / OWNERS_NAME / "testing/test_pixel_mask/01_0002.npy")
    np.testing.assert_array_equal(masks, clip.masks)
    assert not (root / OWNERS_NAME / "testing/test_pixel_mask/01_0001.npy").exists()
    (tmp_path / "mine" / OWNERS_NAME).mkdir(parents=True)
    with pytest.raises(FileExistsError, match="holds no phantoms"):
        write_campus(tmp_path / "mine")


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected at least 1 each"):
        write_campus(tmp_path, anomalous=0)
    for options in ({"size": (63, 80)}, {"seed": -1}):
        with pytest.raises(ValueError, match="expected sides of 64 or more"):
            write_campus(tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="length 0"):
        campus_clip(0, 0, length=0)
    assert not list(tmp_path.iterdir())
