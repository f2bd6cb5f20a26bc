"""Panels, colours and PNG files: geometry, fixed scales, captions."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont
from skimage.color import rgb2lab
from skimage.segmentation import find_boundaries

from monai_cavga.handlers import files
from monai_cavga.handlers.colour import (
    OUTLINE,
    as_map,
    as_photo,
    blend,
    check_scale,
    colour_stops,
    map_layer,
    resize_map,
    resize_mask,
    resize_photo,
)
from monai_cavga.handlers.files import safe_name, unique_stem, write_atomic
from monai_cavga.handlers.panels import (
    colour_map,
    contact_sheet,
    contour,
    encode_png,
    fit_text,
    label_text,
    outline_layer,
    overlay,
    panel,
    save_png,
    scale_of,
    show_number,
)

TILE = 120
TOP, MARGIN = 80, 16  # where the first tile starts: margin 16, header 40, titles 24


def item(height: int = 60, width: int = 90, **changes: Any) -> dict[str, Any]:
    """One output: image at another size and shape than the maps, a landmark at the top right of each."""
    image = torch.full((3, 32, 32), 0.25)
    image[:, :8, 24:] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]  # red, top right quarter of a quarter
    attention = torch.zeros(1, height, width)
    attention[:, : height // 4, 3 * width // 4 :] = 1.0
    mask = torch.zeros(1, height, width, dtype=torch.int8)
    mask[:, : height // 4, 3 * width // 4 :] = 1
    made = {
        "image": image,
        "reconstruction": image.flip(-1),
        "attention": attention,
        "residual": attention * 0.25,
        "mask": mask,
        "label": torch.tensor(1),
        "score": 0.75,
        "name": "left_eye",
    }
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


def cut(row: np.ndarray, index: int, *, height: int = 80, width: int = 120) -> np.ndarray:
    """The picture of one tile of a panel made with tile=120."""
    left = MARGIN + index * (176 + 12)
    return row[TOP : TOP + height, left : left + width].astype(int)


def test_hand_colour_map_ends_and_outside_values() -> None:
    rgb = colour_map(np.array([[0.0, 1.0, -3.0, 7.0, np.nan]]))
    assert rgb.dtype == np.uint8
    assert rgb[0, 0].tolist() == list(colour_stops()[0])
    assert rgb[0, 1].tolist() == list(colour_stops()[-1])
    assert rgb[0, 2].tolist() == rgb[0, 0].tolist()
    assert rgb[0, 3].tolist() == rgb[0, 1].tolist()
    assert rgb[0, 4].tolist() == [128, 128, 128]


def test_property_colour_map_is_perceptually_uniform() -> None:
    lab = rgb2lab(colour_map(np.linspace(0, 1, 256)[None]) / 255.0)[0]
    assert (np.diff(lab[:, 0]) > 0).all()
    np.testing.assert_allclose(lab[:, 0], np.linspace(6, 95, 256), atol=1.5)  # lightness is linear in the value
    steps = np.linalg.norm(np.diff(lab[::15], axis=0), axis=1)
    assert steps.max() / steps.min() < 2


def test_hand_layer_is_transparent_at_low_and_opaque_at_high() -> None:
    layer = map_layer(np.array([[2.0, 3.0, 4.0, 9.0, np.nan]]), low=2.0, high=4.0)
    assert layer.shape == (1, 5, 4)
    assert layer[0, :, 3].tolist() == [0, 128, 255, 255, 255]


def test_hand_overlay_mixes_photograph_and_colour() -> None:
    image = torch.full((3, 1, 3), 0.4)  # 102 of 255
    mixed = overlay(image, torch.tensor([[[0.0, 0.5, 1.0]]]), low=0.0, high=1.0, opacity=0.5)
    assert mixed[0, 0].tolist() == [102, 102, 102]
    pale = colour_stops()[-1]
    np.testing.assert_allclose(mixed[0, 2], [(102 + c) / 2 for c in pale], atol=1)


def test_property_overlay_scale_is_not_the_images_own() -> None:
    image, low_map = torch.full((1, 4, 6), 0.5), torch.rand(1, 4, 6, generator=torch.Generator().manual_seed(0)) * 0.1
    faint = overlay(image, low_map, low=0.0, high=100.0)
    assert np.abs(faint.astype(int) - 128).max() <= 1  # a low map stays invisible, whatever its own maximum
    higher = low_map.clone()
    higher[0, 0, 0] = 50.0  # one bright pixel does not change the colour of the others
    np.testing.assert_array_equal(overlay(image, higher, low=0.0, high=100.0)[1:], faint[1:])


def test_overlay_resizes_the_map_to_the_image() -> None:
    anomaly_map = torch.zeros(1, 8, 20)
    anomaly_map[:, :2, 15:] = 1
    mixed = overlay(torch.zeros(1, 40, 30), anomaly_map, low=0.0, high=1.0, opacity=1.0).astype(int)
    assert mixed.shape == (40, 30, 3)
    bright = mixed.sum(-1) > 380
    assert bright[:8, 24:].all()
    assert not bright[12:].any()
    assert not bright[:, :21].any()


def test_reference_contour_against_skimage() -> None:
    mask = np.zeros((13, 21), dtype=np.int8)
    mask[0:4, 15:21] = 1  # touches two borders
    mask[9, 3] = 1  # one pixel keeps its own ring
    mask[5:8, 5:9] = -1  # ignored is not inside
    np.testing.assert_array_equal(contour(mask), find_boundaries(mask > 0, mode="outer", connectivity=2, background=0))
    assert contour(mask)[8:11, 2:5].sum() == 8
    assert not contour(np.ones((3, 4))).any()


def test_small_lesion_survives_shrinking() -> None:
    mask = np.zeros((400, 600), dtype=np.int8)
    mask[301, 77] = 1
    small = resize_mask(mask, (40, 60))
    assert small.sum() == 1
    assert small[30, 7]
    np.testing.assert_array_equal(resize_mask(mask, (400, 600)), mask > 0)


def test_photo_of_grey_and_of_other_channel_counts() -> None:
    assert as_photo(torch.full((1, 2, 3), 0.2)).tolist() == np.full((2, 3, 3), 51).tolist()
    four = torch.stack([torch.full((2, 3), v) for v in (0.0, 0.2, 0.4, 0.2)])
    assert as_photo(four)[1, 2].tolist() == [51, 51, 51]  # the mean 0.2
    assert as_photo(np.array([[[2.0, -1.0, np.nan]]]))[0, :, 0].tolist() == [255, 0, 128]


@pytest.mark.parametrize("shape", [(2, 3, 4), (4,), (1, 0, 5), (1, 1, 3, 4)])
def test_map_of_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"depth has shape .* expected \(1, H, W\) or \(H, W\)"):
        as_map(np.zeros(shape), name="depth")


def test_image_of_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image has shape \(4, 5\), expected \(C, H, W\)"):
        as_photo(np.zeros((4, 5)))


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_bad_scale_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="low < high"):
        check_scale(low, high)
    with pytest.raises(ValueError, match="map 'residual': scale is"):
        scale_of({"residual": (low, high)}, "residual")


def test_bad_opacity_is_refused() -> None:
    with pytest.raises(ValueError, match=r"opacity is 1\.5"):
        blend(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1, 4), np.uint8), 1.5)


def test_scales_come_from_caller_then_default() -> None:
    assert scale_of(None, "residual") == (0.0, 0.25)
    assert scale_of({"residual": (0.1, 0.2)}, "residual") == (0.1, 0.2)
    assert scale_of({}, "attention") == (0.0, 1.0)


def test_panel_geometry_in_every_tile() -> None:
    """The landmark at the top right of the source is at the top right of each tile, in the source's proportions."""
    row = panel(item(40, 60), tile=TILE)
    assert row.dtype == np.uint8
    photo, reconstruction, residual, attention, laid, mask = (cut(row, index) for index in range(6))
    red = (photo[..., 0] > 200) & (photo[..., 1] < 60)
    assert red[2:16, 94:118].all()  # 80 x 120: a quarter of each side
    assert not red[24:].any()
    assert not red[:, :84].any()
    flipped = (reconstruction[..., 0] > 200) & (reconstruction[..., 1] < 60)
    assert flipped[2:16, 2:26].all()
    assert (residual[2:16, 94:118].sum(-1) > 600).all()  # 0.25 is the top of its scale
    assert (residual[30:].sum(-1) < 150).all()
    assert (attention[2:16, 94:118].sum(-1) < 150).all()  # A = 1 - map
    assert (attention[30:].sum(-1) > 600).all()
    np.testing.assert_array_equal(laid[30:], photo[30:])
    assert (laid[2:16, 94:118, 2] > 100).all()
    ring = (mask == OUTLINE).all(-1)
    assert ring[20, 89:].all()  # just outside rows 0..19 and columns 90..119
    assert ring[:21, 89].all()
    assert ring.sum() == 21 + 31 - 1


def test_panel_without_mask_reconstruction_label_or_score() -> None:
    row = panel(item(mask=None, reconstruction=None, residual=None, label=None, score=None), tile=TILE)
    for index in (1, 2, 5):
        assert (cut(row, index) == (241, 243, 245)).all()
    assert row.shape == panel(item(), tile=TILE).shape


def test_panel_of_an_anomalous_class_attention_shows_it_as_it_is() -> None:
    row = panel(item(), tile=TILE, attends="anomalous")
    assert (cut(row, 3)[2:16, 94:118].sum(-1) > 600).all()


def test_panel_scales_are_fixed_and_drawn() -> None:
    half = item(attention=item()["attention"] * 0.5)
    wide, narrow = panel(half, tile=TILE), panel(half, tile=TILE, scales={"attention": (0.0, 0.5)})
    np.testing.assert_array_equal(cut(narrow, 4), cut(panel(item(), tile=TILE), 4))
    assert cut(wide, 4)[5, 110].tolist() != cut(narrow, 4)[5, 110].tolist()
    foot = slice(TOP + 80, TOP + 80 + 34)  # the bar's numbers change with the scale
    left = MARGIN + 4 * 188
    assert (wide[foot, left : left + 176] != narrow[foot, left : left + 176]).any()


@pytest.mark.parametrize(("height", "width"), [(200, 20), (20, 200), (60, 90)])
def test_captions_do_not_overlap(height: int, width: int) -> None:
    """Between the cells, and right and left of them, nothing is drawn: each caption keeps to its own cell."""
    row = panel(item(height, width, name="a very long name " * 30), tile=200, primary="attention")
    cell = max(round(200 * width / max(height, width)), 176)
    assert (row[50:-24, : MARGIN - 1] == 255).all()
    for index in range(1, 6):
        gutter = MARGIN + index * (cell + 12) - 11
        assert (row[50:-24, gutter : gutter + 9] == 255).all()
    numbers = row[:45]  # name left, label and score right, white between them
    columns = (numbers < 200).any((0, 2))
    rule = np.flatnonzero((row[46] < 240).any(-1))
    assert columns[: rule[-1] + 1].any()
    facts = ImageFont.load_default(14).getlength("anomalous   ·   score 0.750")
    start = row.shape[1] - MARGIN - int(facts)
    assert not columns[start - 14 : start - 2].any()


def test_fit_text_keeps_to_the_width_and_replaces_what_the_font_lacks() -> None:
    font = ImageFont.load_default(14)
    for width in (0, 5, 30, 100, 1000):
        assert font.getlength(fit_text("IDRiD_55 and more", width, font)) <= width
    assert fit_text("IDRiD_55", 200, font) == "IDRiD_55"
    assert fit_text("眼\n1", 200, font) == "??1"


def test_panel_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="item has no 'image' but \\['name'\\]"):
        panel({"name": "x"})
    with pytest.raises(ValueError, match="tile is 8"):
        panel(item(), tile=8)


def test_outline_layer_says_what_is_labelled() -> None:
    assert outline_layer(None, (4, 6)) == (None, "no pixel labels")
    assert outline_layer(torch.full((1, 4, 6), -1), (4, 6)) == (None, "no pixel labels")
    layer, note = outline_layer(torch.zeros(1, 4, 6), (4, 6))
    assert note == "no anomalous pixel"
    assert layer is not None
    assert not layer.any()
    mask = torch.zeros(1, 4, 6)
    mask[:, :2] = -1  # twelve ignored, three of the other twelve anomalous
    mask[:, 3, :3] = 1
    assert outline_layer(mask, (4, 6))[1] == "25.00 % anomalous"


def test_numbers_and_labels_in_words() -> None:
    assert [show_number(v) for v in (None, float("nan"), 0.0, 0.12345, 12345.0, 1e-5)] == [
        "not given",
        "not defined",
        "0.000",
        "0.123",
        "1.23e+04",
        "1e-05",
    ]
    assert [label_text(v) for v in (None, 0, 1, 7)] == ["no label", "normal", "anomalous", "label 7"]


def test_contact_sheet_stacks_rows_of_different_widths() -> None:
    first, second = np.full((3, 8, 3), 10, np.uint8), np.full((5, 4, 3), 20, np.uint8)
    sheet = contact_sheet([first, second])
    assert sheet.shape == (3 + 1 + 5, 8, 3)
    assert (sheet[:3] == 10).all()
    assert (sheet[4:, :4] == 20).all()
    assert (sheet[4:, 4:] == 255).all()
    with pytest.raises(ValueError, match="no panel"):
        contact_sheet([])


@pytest.mark.parametrize(
    "picture",
    [
        np.arange(12, dtype=np.uint8).reshape(3, 4),
        (np.arange(12, dtype=np.uint16) * 5461).reshape(3, 4),
        np.arange(36, dtype=np.uint8).reshape(3, 4, 3),
        np.arange(48, dtype=np.uint8).reshape(3, 4, 4),
    ],
)
def test_round_trip_png(picture: np.ndarray, tmp_path: Any) -> None:
    path = save_png(tmp_path / "new" / "a.png", picture, text={"notice": "é"})
    with Image.open(path) as read:
        assert read.text["notice"] == "é"  # type: ignore[attr-defined]
        np.testing.assert_array_equal(np.asarray(read), picture)


@pytest.mark.parametrize("picture", [np.zeros((3, 4)), np.zeros((3, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_png_of_floats_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="scale floats on a fixed scale first"):
        encode_png(picture)


def test_write_is_atomic(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails leaves the old file and no other."""
    path = tmp_path / "a.png"
    write_atomic(path, b"old")

    def fail(*_: Any) -> None:
        raise OSError("disk is full")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="disk is full"):
        save_png(path, np.zeros((2, 2), np.uint8))
    assert os.listdir(tmp_path) == ["a.png"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IDRiD_55", "IDRiD_55"),
        ("../x", "x"),
        ("..\\..\\x", "x"),
        ("/etc/passwd", "etc_passwd"),
        ("a/../b", "a_._b"),
        ("<script>", "script"),
        ("Œil é\0.jpg", "il_e_.jpg"),
        ("眼", "image"),
        ("", "image"),
        (".hidden", "hidden"),
        ("x" * 300, "x" * 80),
    ],
)
def test_safe_name(name: str, expected: str) -> None:
    assert safe_name(name) == expected


def test_unique_stem_counts_on_and_ignores_case() -> None:
    used: set[str] = set()
    assert [unique_stem(name, ["_m.png"], used) for name in ("a", "A", "a_2", "../a", "b")] == [
        "a",
        "A_2",
        "a_2_2",
        "a_3",
        "b",
    ]
    assert unique_stem("x", ["_y_z.png"], used) == "x"
    assert unique_stem("x_y", ["_z.png"], used) == "x_y_2"  # another name and ending would be the same file


def test_resizing_keeps_a_picture_of_that_size() -> None:
    values, photo = np.zeros((3, 4), np.float32), np.zeros((3, 4, 3), np.uint8)
    assert resize_map(values, (3, 4)) is values
    assert resize_photo(photo, (3, 4)) is photo


def test_panel_png_opens(tmp_path: Any) -> None:
    row = panel(item(), tile=TILE)
    with Image.open(io.BytesIO(encode_png(row))) as read:
        assert (read.width, read.height) == (row.shape[1], row.shape[0])


def test_maps_of_ours_stand_in_for_a_reconstruction_that_is_not_there() -> None:
    generator = torch.Generator().manual_seed(0)
    item = {"image": torch.rand(3, 40, 64, generator=generator)}
    maps = {name: torch.rand(1, 40, 64, generator=generator) for name in ("fused", "class", "attention")}
    cell = 176 + 12  # narrowest cell and gap
    plain = panel({**item, "attention": maps["attention"]}, tile=64).shape[1]
    ours = panel({**item, **maps}, primary="fused", attends="anomalous", tile=64).shape[1]
    assert plain - ours == cell  # input, reconstruction, residual, A, map, mask; input, class, A, map, mask
    whole = {**item, **maps, "reconstruction": item["image"], "residual": maps["class"]}
    assert panel(whole, primary="fused", attends="anomalous", tile=64).shape[1] - ours == 2 * cell
