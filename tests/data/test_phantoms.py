from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from monai_cavga.data import lag_items, phantom, read_mask, write_phantoms
from monai_cavga.data.phantoms import PART, RECORD


def test_shape_and_seed() -> None:
    picture, mask = phantom(3, size=(80, 130), lesions=True)
    assert picture.shape == (80, 130, 3)
    assert picture.dtype == np.uint8
    assert mask.shape == (80, 130)
    assert set(np.unique(mask)) == {0, 1}
    np.testing.assert_array_equal(picture, phantom(3, size=(80, 130), lesions=True)[0])
    assert (picture != phantom(4, size=(80, 130), lesions=True)[0]).mean() > 0.2


@pytest.mark.parametrize("seed", range(6))
def test_same_eye_with_and_without_lesions_differs_only_there(seed: int) -> None:
    healthy, nothing = phantom(seed)
    ill, mask = phantom(seed, lesions=True)
    assert nothing.sum() == 0
    changed = (healthy != ill).any(axis=2)
    assert changed.any()
    assert not (
        changed & ~ndimage.binary_dilation(mask, iterations=2)
    ).any()  # partly covered pixels lie beside the mask
    assert changed[mask == 1].mean() > 0.95


def test_looks_like_a_fundus_photograph() -> None:
    """Property: red above green above blue inside, dark border, both lateralities, several colours."""
    pictures = [phantom(seed)[0].astype(float) for seed in range(12)]
    for picture in pictures:
        middle = picture[60:132, 110:178].mean(axis=(0, 1))
        assert middle[0] > middle[1] > middle[2]
        assert picture[:, :10].max() < 30
    disc_side = {bool(np.argmax(p[..., 1].max(axis=0)) > 144) for p in pictures}
    assert disc_side == {True, False}
    ratios = [p[60:132, 110:178, 1].mean() / p[60:132, 110:178, 0].mean() for p in pictures]
    assert max(ratios) - min(ratios) > 0.05


def test_speed() -> None:
    phantom(0, size=(192, 256), lesions=True)
    times = []
    for seed in range(5):
        start = time.process_time()
        phantom(seed, size=(192, 256), lesions=True)
        times.append(time.process_time() - start)
    assert min(times) < 0.15  # 0.03 s on an idle core; the margin is for busy machines


def test_written_in_lag_layout(tmp_path: Path) -> None:
    root = write_phantoms(tmp_path / "new", normal=6, anomalous=2, size=(72, 100), seed=5, progress=False)
    assert sorted(path.name for path in root.iterdir()) == [PART]  # no temporary folder is left
    test = lag_items(root, "test")
    assert [item["label"] for item in test] == [0, 1, 1]
    for item in test:
        with Image.open(item["image"]) as image:
            assert image.size == (100, 72)
    np.testing.assert_array_equal(
        read_mask(test[1]["mask_files"]), phantom(5 * 1_000_003 + 6, size=(72, 100), lesions=True)[1]
    )


def test_written_again(tmp_path: Path) -> None:
    options = {"normal": 2, "anomalous": 1, "size": (64, 80), "progress": False}
    write_phantoms(tmp_path, **options)
    record = tmp_path / PART / RECORD
    before = record.stat().st_mtime_ns
    write_phantoms(tmp_path, **options)  # the same: left alone
    assert record.stat().st_mtime_ns == before
    write_phantoms(tmp_path, **options, seed=1)  # others: replaced
    assert json.loads(record.read_text())["seed"] == 1
    record.unlink()
    with pytest.raises(FileExistsError, match="holds no phantoms"):
        write_phantoms(tmp_path, **options)


def test_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_cavga.data.phantoms.phantom", stop)
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path, normal=2, anomalous=1, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 64 x 64"):
        phantom(0, size=(63, 100))
    with pytest.raises(ValueError, match="seed is -1"):
        phantom(-1)
    with pytest.raises(ValueError, match="expected at least 1 each"):
        write_phantoms(tmp_path, normal=0)
