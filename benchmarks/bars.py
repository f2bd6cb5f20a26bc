"""A picture of a table: for every row a bar of ours over one of the paper's, from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from reporting import mean

from monai_cavga.handlers.files import save_png

OURS, PAPER, INK, GRID = (0, 90, 160), (190, 190, 190), (30, 30, 30), (225, 225, 225)
SCALE, VALUE, ROW, TOP = 480, 150, 40, 60  # pixels: bars, numbers, height of a row, head


class Bar(NamedTuple):
    """One row."""

    label: str
    ours: float | None  # None: not measured or undefined
    spread: float  # standard deviation over seeds
    paper: float | None


def seeds_bar(label: str, values: Sequence[float | None], paper: float | None) -> Bar:
    """The row of one metric over seeds."""
    known = [value for value in values if value is not None]
    return Bar(label, mean(values), float(np.std(known)) if known else 0.0, paper)


def draw_bars(path: Path, bars: Sequence[Bar], *, title: str) -> None:
    """Write a PNG.

    Args:
        path: of the file.
        bars: top to bottom; values in [0, 1].
        title: one line.
    """
    font = ImageFont.load_default(size=15)
    bars_at = 30 + round(max((font.getlength(bar.label) for bar in bars), default=0))
    picture = Image.new("RGB", (bars_at + SCALE + VALUE, TOP + ROW * len(bars) + 30), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((10, 8), title, fill=INK, font=font)
    for name, colour, left in (("ours", OURS, 10), ("paper", PAPER, 100)):
        draw.rectangle((left, 36, left + 14, 50), fill=colour)
        draw.text((left + 20, 34), name, fill=INK, font=font)
    bottom = TOP + ROW * len(bars)
    for tenth in range(0, 11, 2):
        x = bars_at + SCALE * tenth // 10
        draw.line((x, TOP, x, bottom), fill=GRID)
        draw.text((x - 9, bottom + 6), f"{tenth / 10:.1f}", fill=INK, font=font)
    for number, bar in enumerate(bars):
        top = TOP + ROW * number
        draw.text((10, top + 10), bar.label, fill=INK, font=font)
        for value, colour, offset in ((bar.ours, OURS, 4), (bar.paper, PAPER, 19)):
            if value is not None:
                draw.rectangle((bars_at, top + offset, bars_at + round(SCALE * value), top + offset + 13), fill=colour)
        if bar.ours is not None and bar.spread > 0:
            ends = [bars_at + round(SCALE * (bar.ours + side * bar.spread)) for side in (-1, 1)]
            draw.line((ends[0], top + 10, ends[1], top + 10), fill=INK, width=2)
        values = ["-" if value is None else f"{value:.3f}" for value in (bar.ours, bar.paper)]
        draw.text((bars_at + SCALE + 12, top + 10), " / ".join(values), fill=INK, font=font)
    save_png(path, np.asarray(picture))
