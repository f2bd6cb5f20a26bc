"""The row of pictures that shows one image's result, and sheets of such rows. NumPy and Pillow only.

Pure functions on one output item of the evaluator (see `panel`); `monai_cavga.handlers.images` calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from monai_cavga.handlers.colour import (
    OUTLINE,
    Array,
    as_map,
    as_photo,
    blend,
    check_scale,
    colour_map,
    contour,
    map_layer,
    overlay,
    resize_map,
    resize_mask,
    resize_photo,
)
from monai_cavga.handlers.files import NOTICE, encode_png, save_png
from monai_cavga.handlers.outputs import label_of, score_of

__all__ = [
    "DISPLAY_SCALES",
    "colour_map",
    "contact_sheet",
    "contour",
    "encode_png",
    "overlay",
    "panel",
    "save_png",
    "scale_of",
    "show_number",
]

Scales = Mapping[str, tuple[float, float]]
Attends = Literal["normal", "anomalous"]

# Ends of the fixed scales of pictures; every other map is shown on (0, 1). Mean residuals above a quarter of the
# range of an image are rare: on (0, 1) every residual would be black. A normal position has a latent distance of 1,
# and a fused map its threshold at 0.5: below it nothing is shown.
DISPLAY_SCALES: Scales = {
    "residual": (0.0, 0.25),
    "relative_residual": (0.0, 4.0),
    "latent_distance": (0.0, 4.0),
    "fused": (0.5, 1.0),
}

_PAPER, _INK, _MUTED, _LINE = (255, 255, 255), (27, 31, 36), (87, 96, 106), (222, 226, 230)
_EMPTY = (241, 243, 245)
_MARGIN, _GAP, _NARROWEST = 16, 12, 176  # pixels; the narrowest cell holds the longest caption
_HEADER, _TITLE, _FOOT, _BAR = 40, 24, 34, 8

_OURS = ("class", "latent_distance", "fused")


class _Tile(NamedTuple):
    title: str
    picture: Array | None  # (h, w, 3) uint8; None = nothing to show
    note: str  # under the picture; with a scale, between its numbers
    scale: tuple[float, float] | None


def scale_of(scales: Scales | None, key: str) -> tuple[float, float]:
    """The fixed scale of one map's picture: the caller's, else the default's, else (0, 1).

    Raises:
        ValueError: if it is not ``low < high``, naming the map.
    """
    low, high = (scales or {}).get(key, DISPLAY_SCALES.get(key, (0.0, 1.0)))
    try:
        return check_scale(low, high)
    except ValueError as err:
        raise ValueError(f"map {key!r}: {err}") from err


def show_number(value: float | None) -> str:
    """A number for a caption, three decimals or three digits; ``not given`` for None, ``not defined`` for NaN."""
    if value is None:
        return "not given"
    if value != value:
        return "not defined"
    return f"{value:.3f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.3g}"


def label_text(label: int | None) -> str:
    """The label in words: 0 is normal, 1 is anomalous."""
    return {None: "no label", 0: "normal", 1: "anomalous"}.get(label, f"label {label}")


def panel(
    item: Mapping[str, Any],
    *,
    scales: Scales | None = None,
    primary: str = "attention",
    attends: Attends = "normal",
    name: str | None = None,
    tile: int = 256,
    opacity: float = 0.75,
) -> Array:
    """One row: input, reconstruction, residual, attention, anomaly map, mask, with captions and scales.

    An item with maps of ours (class, latent distance, fused) shows these, and no empty tiles for what it lacks.

    Everything is resized, for display only, to the shape of the primary map (the source's), so that an image squeezed
    for the network is shown in its own proportions. What the item lacks is an empty tile that says so.

    Args:
        item: ``image`` ``(C, h, w)`` in [0, 1]; optional ``reconstruction`` ``(C, h, w)``, maps ``(1, H, W)``, ``mask``
            ``(1, H, W)`` with 1 anomalous, 0 normal, -1 ignored, ``label`` (0 or 1), ``score``, ``name``,
            ``fov`` of the maps' size: they are shown inside it alone.
        scales: ``{map: (low, high)}``, else `DISPLAY_SCALES`; the ends are printed, values outside are clipped.
        primary: the key of the map that is laid over the image.
        attends: whose attention ``attention`` comes from. ``normal``: it is ``1 - A`` and the tile shows A;
            ``anomalous`` (the class attention of CAVGA_w): it is A itself.
        name: overrides the item's name.
        tile: pixels of a picture's longer side.
        opacity: in [0, 1], of the overlay at the top of its scale.

    Returns:
        ``(rows, columns, 3)`` uint8.

    Raises:
        ValueError: if there is no image, a shape or a scale is wrong, or ``tile`` is below 32.
    """
    if tile < 32:
        raise ValueError(f"tile is {tile}, expected at least 32 pixels")
    if "image" not in item:
        raise ValueError(f"item has no 'image' but {sorted(item)}: pass one decollated output of the evaluator")
    shape = as_map(item[primary], name=primary).shape if primary in item else np.shape(item["image"])[1:]
    size = (max(1, round(tile * shape[0] / max(shape))), max(1, round(tile * shape[1] / max(shape))))
    tiles = _tiles(item, size=size, scales=scales, primary=primary, attends=attends, opacity=opacity)
    title = str(name if name is not None else item.get("name", "image"))
    return _draw(
        tiles, size=size, title=title, facts=f"{label_text(label_of(item))}   ·   score {show_number(score_of(item))}"
    )


def outline_layer(mask: Any, size: tuple[int, int]) -> tuple[Array | None, str]:
    """A mask's outline as a layer, and what to say of it.

    Args:
        mask: ``(1, H, W)`` with 1 anomalous, 0 normal, -1 ignored, or None.
        size: rows and columns of the layer.

    Returns:
        ``(H, W, 4)`` uint8 or None where no pixel is labelled, and a caption with the share of labelled pixels.
    """
    values = None if mask is None else as_map(mask, name="mask")
    if values is None or (values < 0).all():
        return None, "no pixel labels"
    share = 100 * float((values > 0).sum() / (values >= 0).sum())
    layer = np.zeros((*size, 4), dtype=np.uint8)
    layer[contour(resize_mask(values, size))] = (*OUTLINE, 255)
    return layer, f"{share:.2f} % anomalous" if share else "no anomalous pixel"


def _tiles(
    item: Mapping[str, Any],
    *,
    size: tuple[int, int],
    scales: Scales | None,
    primary: str,
    attends: Attends,
    opacity: float,
) -> list[_Tile]:
    def shown(key: str) -> Array | None:
        return resize_photo(as_photo(item[key]), size) if key in item else None

    def values(key: str) -> Array | None:
        return resize_map(as_map(item[key], name=key), size) if key in item else None

    def seen(array: Array, low: float) -> Array:
        """Outside the field of view, of which nothing is said, the low end of the scale."""
        if "fov" not in item:
            return array
        inside = resize_map(as_map(item["fov"], name="fov").astype(np.float32), size) > 0.5
        return np.where(inside, array, np.float32(low))

    def coloured(title: str, array: Array | None, scale: tuple[float, float]) -> _Tile:
        if array is None:
            return _Tile(title, None, "", None)
        return _Tile(title, colour_map((seen(array, scale[0]) - scale[0]) / (scale[1] - scale[0])), "", scale)

    photo = resize_photo(as_photo(item["image"]), size)
    height, width = np.shape(item["image"])[1:]
    attention, scale = values("attention"), scale_of(scales, "attention")
    if attention is not None and attends == "normal":
        attention, scale = 1 - attention, (1 - scale[1], 1 - scale[0])
    over, ends = values(primary), scale_of(scales, primary)
    laid = None if over is None else blend(photo, map_layer(seen(over, ends[0]), low=ends[0], high=ends[1]), opacity)
    ring, note = outline_layer(item.get("mask"), size)
    complement = primary == "attention" and attends == "normal"
    ours = [key for key in _OURS if key in item and key != primary]
    middle = []
    if not ours or "reconstruction" in item:
        middle.append(_Tile("reconstruction", shown("reconstruction"), "", None))
    if not ours or "residual" in item:
        middle.append(coloured("residual", values("residual"), scale_of(scales, "residual")))
    middle += [coloured(key.replace("_", " "), values(key), scale_of(scales, key)) for key in ours]
    if not ours or attention is not None:
        middle.append(coloured("attention A", attention, scale))
    return [
        _Tile("input", photo, f"{height} rows, {width} columns", None),
        *middle,
        _Tile(
            "anomaly map 1 - A" if complement else f"anomaly map: {primary}", laid, "", None if laid is None else ends
        ),
        _Tile("mask", None if ring is None else blend(photo, ring, 1.0), note, None),
    ]


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def fit_text(text: str, width: float, font: Any) -> str:
    """Text cut to a width in pixels, with an ellipsis; what Pillow's own font cannot draw becomes ``?``."""
    drawable = "".join(c if " " <= c <= "~" or c in "·…" else "?" for c in text)
    if font.getlength(drawable) <= width:
        return drawable
    while drawable and font.getlength(drawable + "…") > width:
        drawable = drawable[:-1]
    return drawable.rstrip() + "…" if drawable else ""


def _draw(tiles: Sequence[_Tile], *, size: tuple[int, int], title: str, facts: str) -> Array:
    cell = max(size[1], _NARROWEST)
    width = 2 * _MARGIN + len(tiles) * cell + (len(tiles) - 1) * _GAP
    top = _MARGIN + _HEADER + _TITLE
    height = top + size[0] + _FOOT + _MARGIN + 12
    canvas = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    big, mid, small = _font(20), _font(14), _font(12)

    facts_width = mid.getlength(facts)
    draw.text((_MARGIN, _MARGIN + 20), fit_text(title, width - 3 * _MARGIN - facts_width, big), _INK, big, anchor="ls")
    draw.text((width - _MARGIN, _MARGIN + 20), facts, _INK, mid, anchor="rs")
    draw.line((_MARGIN, _MARGIN + 30, width - _MARGIN, _MARGIN + 30), _LINE)
    for index, each in enumerate(tiles):
        left = _MARGIN + index * (cell + _GAP)
        draw.text((left, top - 8), fit_text(each.title, cell, mid), _INK, mid, anchor="ls")
        if each.picture is None:
            draw.rectangle((left, top, left + size[1] - 1, top + size[0] - 1), _EMPTY)
            draw.text(
                (left, top + size[0] + 18), fit_text(each.note or "not given", cell, small), _MUTED, small, anchor="ls"
            )
            continue
        canvas.paste(Image.fromarray(each.picture), (left, top))
        if each.scale is None:
            draw.text((left, top + size[0] + 18), fit_text(each.note, cell, small), _MUTED, small, anchor="ls")
        else:
            _draw_bar(canvas, draw, (left, top + size[0] + 6), cell=cell, scale=each.scale)
    draw.text((_MARGIN, height - _MARGIN + 2), NOTICE, _MUTED, small, anchor="ls")
    return np.asarray(canvas)


def _draw_bar(canvas: Any, draw: Any, corner: tuple[int, int], *, cell: int, scale: tuple[float, float]) -> None:
    left, top = corner
    ramp = colour_map(np.tile(np.linspace(0, 1, cell, dtype=np.float32), (_BAR, 1)))
    canvas.paste(Image.fromarray(ramp), (left, top))
    font = _font(12)
    draw.text((left, top + _BAR + 12), show_number(scale[0]), _MUTED, font, anchor="ls")
    draw.text((left + cell, top + _BAR + 12), show_number(scale[1]), _MUTED, font, anchor="rs")


def contact_sheet(panels: Sequence[Array]) -> Array:
    """Panels one under another, left edges in line, a rule between them.

    Args:
        panels: ``(h, w, 3)`` uint8 each, any sizes.

    Returns:
        ``(sum of h + rules, largest w, 3)`` uint8.

    Raises:
        ValueError: if there is none.
    """
    if not panels:
        raise ValueError("contact_sheet got no panel, expected at least one")
    width = max(each.shape[1] for each in panels)
    rows: list[Array] = []
    for each in panels:
        row = np.full((each.shape[0], width, 3), _PAPER, dtype=np.uint8)
        row[:, : each.shape[1]] = each
        rows += [row, np.full((1, width, 3), _LINE, dtype=np.uint8)]
    return np.concatenate(rows[:-1])
