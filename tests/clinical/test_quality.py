"""The quality gate: what it measures, and that it stops what it should and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from scipy import ndimage

from monai_cavga.clinical.quality import Quality, measure, problem
from monai_cavga.data import phantom, read_image

GOOD = {
    "border": True,
    "field": 0.7,
    "roundness": 0.99,
    "brightness": 0.5,
    "burnt": 0.0,
    "warm": 1.0,
    "sharpness": 0.7,
    "detail": 1.0,
}


def photograph(seed: int = 0, *, size: tuple[int, int] = (300, 400)) -> np.ndarray:
    return phantom(seed, size=size, lesions=True)[0].astype(np.float32) / 255


@pytest.mark.parametrize("size", [(64, 96), (192, 288), (600, 820)])
def test_photographs_pass_at_any_size(size):
    assert problem(measure(photograph(size=size))) == ""


def test_a_real_photograph_passes():
    assert problem(measure(skimage.data.retina().astype(np.float32) / 255)) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda image: ndimage.gaussian_filter(image, (4, 4, 0)), "out of focus"),
        (lambda image: 0.1 * image, "too dark"),
        (lambda image: np.zeros_like(image), "too dark"),
        (lambda image: np.clip(3 * image, 0, 1), "too bright"),
        (lambda image: image[100:200, 150:250], "no field of view"),
        (lambda image: np.pad(image[120:180, 170:230], ((200, 200), (200, 200), (0, 0))), "no field of view"),
        (
            lambda image: np.pad(image[100:200, 120:280], ((40, 40), (40, 40), (0, 0))),
            "not a fundus photograph: the lit",
        ),
        (lambda image: image[..., ::-1], "not a fundus photograph: red >= green >= blue in 0%"),
    ],
)
def test_what_cannot_be_assessed_is_stopped(change, reason):
    assert problem(measure(change(photograph()))).startswith(reason)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coins", "brick", "text"])
def test_other_pictures_are_stopped(name):
    picture = getattr(skimage.data, name)()
    colour = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
    assert problem(measure(colour[..., :3].astype(np.float32) / 255)) != ""


def test_a_grey_photograph_has_no_colours_to_break_the_rule():
    assert problem(measure(np.repeat(photograph()[..., 1:2] * 1.5, 3, axis=2))) == ""


def test_measures_of_a_drawn_disc():
    """A disc of radius 60 in 150 x 200: area 11310 of 30000 pixels; a tenth of it burnt."""
    rows, columns = np.mgrid[:150, :200]
    distance = np.hypot(rows - 75, columns - 90)
    image = np.where(distance < 60, 0.5, 0.0)[..., None] * np.array([1.0, 0.8, 0.6])
    image[distance < 60 * 0.1**0.5] = (1.0, 0.8, 0.6)
    found = measure(image.astype(np.float32))
    assert found.border
    assert found.field == pytest.approx(11310 / 30000, rel=0.02)
    assert found.roundness > 0.98
    assert found.brightness == pytest.approx(0.5)
    assert found.burnt == pytest.approx(0.1 * (60 / 55) ** 2, rel=0.05)  # measured 5 pixels inside the edge
    assert found.warm == 1.0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"brightness": 0.14}, "too dark: median brightness 0.14, expected at least 0.15"),
        ({"border": False}, "no field of view: no dark border"),
        ({"burnt": 0.51}, "too bright: 51% of the field of view is burnt out"),
        ({"field": 0.2}, "no field of view: 20% of the image is lit"),
        ({"roundness": 0.9}, "not a fundus photograph: the lit part is no disc"),
        ({"warm": 0.8}, "not a fundus photograph: red >= green >= blue in 80%"),
        ({"sharpness": 0.4}, "out of focus: fine detail 0.40 and 1.00"),
        ({"detail": 0.5}, "out of focus: fine detail 0.70 and 0.50"),
    ],
)
def test_each_rule(changed, reason):
    found = problem(Quality(**{**GOOD, **changed}))
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_the_measures_change_little_with_size_and_not_with_exposure():
    small, large = (
        measure(photograph(size=(600, 820))),
        measure(np.kron(photograph(size=(600, 820)), np.ones((2, 2, 1)))),
    )
    assert large.sharpness == pytest.approx(small.sharpness, rel=0.05)
    assert measure(0.6 * photograph()).sharpness == pytest.approx(measure(photograph()).sharpness, rel=0.02)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"pixels are \(20, 40, 3\), expected \(H, W, 3\) with sides of at least 32"):
        measure(np.zeros((20, 40, 3), np.float32))


def test_real_photographs_of_every_grade_pass(shared_dir):
    folder = shared_dir / "data" / "idrid" / "B. Disease Grading" / "1. Original Images" / "b. Testing Set"
    found = sorted(folder.glob("*.jpg"))[::10]
    assert len(found) > 5
    assert [problem(measure(read_image(path))) for path in found] == [""] * len(found)
