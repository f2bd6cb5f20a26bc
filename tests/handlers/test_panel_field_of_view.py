"""Panels show maps inside the field of view alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_cavga.handlers.panels import panel

TILE, TOP, MARGIN, GAP, CELL = 120, 80, 16, 12, 176  # pixels: a tile's width, the first tile's place, gap and cell


@pytest.mark.parametrize(("key", "number"), [("attention", 3), ("attention", 4), ("residual", 2)])
def test_nothing_is_shown_outside(key: str, number: int) -> None:
    """hand: all is anomalous, the left half unseen; there the tile is as where all is 0, else as with no field of view.

    Tiles 2, 3, 4: the residual, the attention A of an anomalous class, the anomaly map over the photograph.
    """
    unseen = torch.ones(1, 60, 90, dtype=torch.bool)
    unseen[..., :45] = False
    whole = {"image": torch.full((3, 32, 32), 0.25), "reconstruction": torch.full((3, 32, 32), 0.5)}
    whole |= {"attention": torch.zeros(1, 60, 90), "residual": torch.zeros(1, 60, 90)}
    bright = {**whole, key: torch.ones(1, 60, 90)}
    left = MARGIN + number * (CELL + GAP)
    cut = (slice(TOP, TOP + 80), slice(left, left + TILE))
    found, all_of_it, none_of_it = (
        panel(each, tile=TILE, attends="anomalous")[cut] for each in ({**bright, "fov": unseen}, bright, whole)
    )
    half = TILE // 2
    assert np.array_equal(found[:, : half - 4], none_of_it[:, : half - 4])
    assert np.array_equal(found[:, half + 4 :], all_of_it[:, half + 4 :])
    assert not np.array_equal(all_of_it[:, : half - 4], none_of_it[:, : half - 4])
