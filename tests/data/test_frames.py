from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monai_cavga.data import ImageReadError, image_size, read_mask
from monai_cavga.data.frames import Frame, frame_of, frames_are_last, open_stack


def test_paths_of_frames() -> None:
    for frame in (Frame("a/01_001.avi", 25), Frame("b#1/m.NPY", 0, last_axis=True), Frame("c d.mp4", 3)):
        assert frame_of(str(frame)) == frame
    for path in ("a.png", "a.avi", "a.png#frame=3", "a.npy#frame=", "a.npy#frame=-1", "a.npy#frame=1,axis=1"):
        assert frame_of(path) is None
    assert frame_of(Path("a.npy#frame=4")) == Frame("a.npy", 4)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_planes_of_both_orders(tmp_path: Path, dtype: type) -> None:
    masks = np.zeros((7, 5, 4), dtype)  # (T, H, W)
    masks[2, 1, 3] = 1
    masks[6, :, 0] = 1 if dtype is bool else 255 % 128
    np.save(tmp_path / "first.npy", masks)
    np.save(tmp_path / "last.npy", masks.transpose(1, 2, 0))
    for index in range(7):
        one = read_mask(f"{tmp_path}/first.npy#frame={index}")
        np.testing.assert_array_equal(one, masks[index] != 0)
        np.testing.assert_array_equal(read_mask(f"{tmp_path}/last.npy#frame={index},axis=2"), one)
    assert image_size(f"{tmp_path}/first.npy#frame=0") == (5, 4)


def test_stacks_are_not_read_before_they_are_needed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5), np.uint8))
    assert isinstance(open_stack(tmp_path / "a.npy"), np.memmap)


def test_which_axis() -> None:
    assert not frames_are_last("m.npy", (9, 4, 6), frames=9, size=(4, 6))
    assert frames_are_last("m.npy", (4, 6, 9), frames=9, size=(4, 6))
    assert not frames_are_last("m.npy", (4, 4, 4), frames=4, size=(4, 4))
    with pytest.raises(ImageReadError, match=r"m\.npy: got an array of shape \(9, 6, 4\).*as its clip has 9 frames"):
        frames_are_last("m.npy", (9, 6, 4), frames=9, size=(4, 6))


def test_bad_stacks_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "soft.npy", np.zeros((3, 4, 5)))
    np.save(tmp_path / "flat.npy", np.zeros(3, np.uint8))
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    np.save(tmp_path / "good.npy", np.zeros((3, 4, 5), np.uint8))
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-7])
    with (tmp_path / "many.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    for name, text in (
        ("soft", "values of type float64"),
        ("flat", r"an array of shape \(3,\)"),
        ("objects", "ValueError"),
        ("empty", "an empty file"),
        ("text", "ValueError"),
        ("cut", "ValueError"),
        ("many", "an archive of arrays"),
        ("absent", "no such file"),
    ):
        with pytest.raises(ImageReadError, match=rf"{name}\.npy.*: got {text}"):
            read_mask(f"{tmp_path}/{name}.npy#frame=0")
    with pytest.raises(ImageReadError, match=r"good\.npy#frame=3: got an array of shape \(3, 4, 5\)"):
        read_mask(f"{tmp_path}/good.npy#frame=3")
    with pytest.raises(ImageReadError, match="4 x 5 pixels, expected at most 19"):
        read_mask(f"{tmp_path}/good.npy#frame=2", max_pixels=19)
