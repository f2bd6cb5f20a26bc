"""Reading files: every kind of pixel that a camera or an annotation tool writes, and every kind of bad file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_cavga.data.read import (
    ImageReadError,
    image_size,
    join_mask_files,
    read_image,
    read_mask,
    split_mask_files,
)

GREY = np.array([[0, 51, 102], [153, 204, 255]], dtype=np.uint8)  # 2 x 3, no symmetry; multiples of 0.2
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_rgb_keeps_rows_as_displayed(tmp_path: Path, suffix: str) -> None:
    pixels = read_image(saved(Image.fromarray(COLOUR), tmp_path / f"a.{suffix}"))
    assert pixels.shape == (2, 3, 3)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, COLOUR / 255, atol=1e-7)


def test_jpeg(tmp_path: Path) -> None:
    flat = np.full((20, 33, 3), (200, 100, 50), dtype=np.uint8)
    pixels = read_image(saved(Image.fromarray(flat), tmp_path / "a.jpg", quality=95))
    assert pixels.shape == (20, 33, 3)
    np.testing.assert_allclose(pixels, flat / 255, atol=0.01)


def test_grey_is_repeated_and_colour_becomes_luminance(tmp_path: Path) -> None:
    grey = saved(Image.fromarray(GREY), tmp_path / "grey.png")
    np.testing.assert_allclose(read_image(grey), np.repeat(GREY[..., None] / 255, 3, axis=2), atol=1e-7)
    assert read_image(grey, channels=1).shape == (2, 3, 1)
    red = saved(Image.new("RGB", (3, 2), (255, 0, 0)), tmp_path / "red.png")
    np.testing.assert_allclose(read_image(red, channels=1), 0.299, atol=0.003)  # hand: ITU-R 601


def test_bilevel(tmp_path: Path) -> None:
    path = saved(Image.fromarray(GREY > 120), tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(path)[..., 0], GREY > 120)


def test_transparency_is_composited_on_black(tmp_path: Path) -> None:
    rgba = saved(Image.new("RGBA", (3, 2), (200, 100, 50, 51)), tmp_path / "rgba.png")
    np.testing.assert_allclose(read_image(rgba)[0, 0] * 255, [40, 20, 10], atol=1)  # hand: a fifth of the colour
    la = saved(Image.new("LA", (3, 2), (200, 51)), tmp_path / "la.png")
    np.testing.assert_allclose(read_image(la)[0, 0] * 255, [40, 40, 40], atol=1)
    keyed = saved(Image.fromarray(GREY), tmp_path / "keyed.png", transparency=255)
    np.testing.assert_allclose(read_image(keyed)[..., 0], np.where(GREY == 255, 0, GREY) / 255, atol=1e-7)


def test_palette_gives_colours_not_indices(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 1], [1, 0, 0]], dtype=np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    pixels = read_image(saved(image, tmp_path / "p.png"))
    np.testing.assert_array_equal(pixels[0], [[1, 0, 0], [0, 0, 1], [0, 0, 1]])


def test_cmyk(tmp_path: Path) -> None:
    pixels = read_image(saved(Image.new("CMYK", (33, 20), (0, 255, 255, 0)), tmp_path / "c.tif"))
    np.testing.assert_allclose(pixels[0, 0], [1, 0, 0], atol=0.01)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_is_scaled_not_clipped(tmp_path: Path, suffix: str, channels: int) -> None:
    values = np.array([[0, 300, 20000], [40000, 60000, 65535]], dtype=np.uint16)
    pixels = read_image(saved(Image.fromarray(values), tmp_path / f"a.{suffix}"), channels=channels)
    np.testing.assert_allclose(pixels, np.repeat(values[..., None] / 65535, channels, axis=2), atol=1e-7)


def test_16_bit_tiff_whose_zero_is_white(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.full((2, 3), 6000, np.uint16)), tmp_path / "w.tif", tiffinfo={262: 0})
    np.testing.assert_allclose(read_image(path), 1 - 6000 / 65535, atol=1e-6)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((20, 32), dtype=np.uint8)
    upright[2:6, 24:30] = 255  # upper right
    # Orientation k says how to turn the stored picture to see it upright; store it turned the other way.
    turns = {3: 2, 6: 1, 8: 3}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(np.rot90(upright, turns)), tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(path, channels=1)[..., 0], upright / 255)
    assert image_size(path) == (20, 32)


def test_float_tiff_is_taken_as_it_is(tmp_path: Path) -> None:
    values = np.array([[0, 0.25, 1], [0.5, 0.125, 0]], dtype=np.float32)
    np.testing.assert_array_equal(
        read_image(saved(Image.fromarray(values), tmp_path / "f.tif"), channels=1)[..., 0], values
    )


@pytest.mark.parametrize(
    ("value", "text"), [(np.nan, "1 NaN or infinite"), (np.inf, "1 NaN or infinite"), (2, "0 to 2")]
)
def test_float_tiff_with_bad_values(tmp_path: Path, value: float, text: str) -> None:
    values = np.zeros((2, 3), dtype=np.float32)
    values[1, 0] = value
    with pytest.raises(ImageReadError, match=text) as caught:
        read_image(saved(Image.fromarray(values), tmp_path / "f.tif"))
    assert "f.tif" in str(caught.value)
    assert "expected finite values in [0, 1]" in str(caught.value)


def test_32_bit_integers_have_no_known_full_scale(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"kind 'I'.*16-bit"):
        read_image(saved(Image.fromarray(np.full((2, 3), 7, np.int32)), tmp_path / "i.tif"))


def test_missing_empty_damaged_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="no such file"):
        read_image(tmp_path / "absent.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageReadError, match=r"empty\.png: got an empty file"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ImageReadError, match=r"UnidentifiedImageError.*convert it to PNG"):
        read_image(tmp_path / "text.png")
    noise = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    for suffix in ("jpg", "png", "tif"):
        path = saved(Image.fromarray(noise), tmp_path / f"cut.{suffix}")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ImageReadError, match="damaged"):
            read_image(path)
        with pytest.raises(ImageReadError, match="damaged"):
            image_size(path)


def test_oversized_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.new("L", (30, 20)), tmp_path / "a.png")
    with pytest.raises(ImageReadError, match=r"20 x 30 pixels.*at most 599 pixels"):
        read_image(path, max_pixels=599)
    assert read_image(path, max_pixels=600).shape == (20, 30, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit gives the same error
    with pytest.raises(ImageReadError, match="oversized"):
        read_image(path)


def test_error_survives_the_way_from_a_worker_process() -> None:
    error = ImageReadError("cannot read image a.png")
    assert isinstance(error, ValueError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_channels_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="channels is 4, expected 1"):
        read_image(tmp_path / "a.png", channels=4)  # type: ignore[arg-type]


def test_mask_level_is_a_fraction_of_full_scale(tmp_path: Path) -> None:
    path = saved(Image.fromarray(GREY), tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(path), [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(read_mask(path, level=0.2), [[0, 1, 1], [1, 1, 1]])  # the level itself counts
    assert read_mask(path).dtype == np.uint8
    for level in (0, 1.5):
        with pytest.raises(ValueError, match="expected a fraction"):
            read_mask(path, level=level)


def test_mask_in_pure_red_counts_fully(tmp_path: Path) -> None:
    red = np.zeros((2, 3, 3), dtype=np.uint8)
    red[0, 2, 0] = 255
    np.testing.assert_array_equal(read_mask(saved(Image.fromarray(red), tmp_path / "m.tif")), [[0, 0, 1], [0, 0, 0]])


def test_mask_of_indices_is_refused_and_empty_mask_is_not(tmp_path: Path) -> None:
    indices = (GREY > 100).astype(np.uint8)
    with pytest.raises(ImageReadError, match=r"values 0 and 1.*multiply it by 255"):
        read_mask(saved(Image.fromarray(indices), tmp_path / "i.png"))
    assert read_mask(saved(Image.fromarray(0 * indices), tmp_path / "e.png")).sum() == 0


def test_mask_files_round_trip() -> None:
    paths = ["/a b/1.png", "/c/2.tif"]
    assert split_mask_files(join_mask_files(paths)) == paths
    assert join_mask_files([]) == ""
    assert split_mask_files("") == []
    with pytest.raises(ValueError, match="line break"):
        join_mask_files(["a\nb.png"])
