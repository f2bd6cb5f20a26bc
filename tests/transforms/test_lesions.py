"""Painted lesions: the same for the same seed, where their mask says, never on the disc, coloured like an eye."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from monai_cavga.transforms import paint_lesions
from monai_cavga.transforms.lesions import KINDS, FundusScene, fundus_scene

HEIGHT, WIDTH = 130, 190
DISC, DISC_RADIUS = (50, 140), 9
DARK, BRIGHT = KINDS[:2], KINDS[2:]

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def photograph() -> tuple[Image, Mask]:
    """An orange circle, cut at top and bottom, with a yellow disc right of the middle and one dark vessel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = (y - 60) ** 2 + (x - 95) ** 2 < 80**2
    light = (0.7 - 0.002 * np.hypot(y - 60, x - 95)).astype(np.float32)
    image = np.stack([light, 0.5 * light, 0.2 * light])
    image[:, np.abs(y - 75 + 10 * np.sin(x / 20)) < 1.5] *= 0.6
    disc = (y - DISC[0]) ** 2 + (x - DISC[1]) ** 2 < DISC_RADIUS**2
    image[:, disc] = np.array([0.95, 0.8, 0.5], np.float32)[:, None]
    image += np.random.RandomState(0).normal(0, 0.004, image.shape).astype(np.float32)
    return np.clip(image * inside, 0, 1).astype(np.float32), inside


@pytest.fixture(scope="module")
def eye() -> tuple[Image, Mask, FundusScene]:
    image, inside = photograph()
    return image, inside, fundus_scene(image, inside)


Eye = tuple[Image, Mask, FundusScene]


# --- the scene ---


def test_the_scene_knows_size_disc_and_vessel(eye: Eye) -> None:
    _, inside, scene = eye
    assert scene.diameter == np.ptp(np.flatnonzero(inside.any(axis=0))) + 1
    assert scene.background.shape == (3, HEIGHT, WIDTH)
    np.testing.assert_allclose(scene.bright, [0.95, 0.8, 0.5], atol=0.03)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = np.hypot(y - DISC[0], x - DISC[1]) < DISC_RADIUS
    assert not (scene.allowed & (disc | ~inside)).any()
    assert scene.allowed.mean() > 0.7 * inside.mean()
    vessel = np.abs(y - 75 + 10 * np.sin(x / 20))
    assert scene.near_vessels.any()
    # The rim of the field of view and of the disc look like vessels, too: dark beside bright.
    clear = ndimage.binary_erosion(inside, iterations=12) & (np.hypot(y - DISC[0], x - DISC[1]) > 25)
    assert np.median(vessel[scene.near_vessels & clear]) < 6  # pixels
    assert np.median(vessel[scene.allowed & clear]) > 20
    assert (scene.allowed | ~scene.near_vessels).all()


def test_the_background_is_the_photograph_without_small_things(eye: Eye) -> None:
    image, inside, scene = eye
    middle = ndimage.binary_erosion(inside, iterations=12)
    assert scene.background[:, middle].std(axis=1).max() < image[:, middle].std(axis=1).max()
    np.testing.assert_allclose(scene.background[:, middle].mean(axis=1), image[:, middle].mean(axis=1), rtol=0.02)


def test_a_black_photograph_has_no_place() -> None:
    black, nowhere = np.zeros((3, 20, 30), np.float32), np.zeros((20, 30), bool)
    scene = fundus_scene(black, nowhere)
    assert scene.diameter == 30
    assert np.isfinite(scene.background).all()
    made, mask = paint_lesions(black, scene, np.random.RandomState(0))
    assert np.array_equal(made, black)
    assert mask.shape == (20, 30)
    assert not mask.any()


# --- painting ---


def test_one_seed_is_one_picture(eye: Eye) -> None:
    image, _, scene = eye
    before = image.copy()
    pictures = [paint_lesions(image, scene, np.random.RandomState(seed)) for seed in (3, 3, 4)]
    for first, second in zip(pictures[0], pictures[1], strict=True):
        assert np.array_equal(first, second)
    assert not np.array_equal(pictures[0][0], pictures[2][0])
    assert np.array_equal(image, before)  # the input is not painted on


def test_rows_in_memory_do_not_matter(eye: Eye) -> None:
    """An image that is a transposed view, as a reader's (H, W, C) gives it, is painted the same."""
    image, inside, scene = eye
    view = np.ascontiguousarray(image.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert not view.flags["C_CONTIGUOUS"]
    expected = paint_lesions(image, scene, np.random.RandomState(1))
    for got, same in zip(
        paint_lesions(view, fundus_scene(view, inside), np.random.RandomState(1)), expected, strict=True
    ):
        np.testing.assert_allclose(got, same, atol=1e-5)
    assert not np.array_equal(expected[0], image)


@pytest.mark.parametrize("seed", range(12))
def test_what_changes_is_near_the_mask(eye: Eye, seed: int) -> None:
    image, inside, scene = eye
    made, mask = paint_lesions(image, scene, np.random.RandomState(seed))
    assert made.dtype == np.float32
    assert made.shape == image.shape
    assert mask.shape == (HEIGHT, WIDTH)
    assert 0 <= made.min() <= made.max() <= 1
    assert mask.any()
    assert not (mask & ~inside).any()
    far = ~ndimage.binary_dilation(mask, iterations=4)
    assert np.abs(made - image)[:, far].max() < 0.05  # the fringe of a soft edge
    assert np.abs(made - image)[:, far].mean() < 1e-3
    assert np.abs(made - image)[:, mask].mean() > 20 * np.abs(made - image)[:, far].mean()


def test_nothing_is_centred_on_the_disc_or_outside(eye: Eye) -> None:
    image, inside, scene = eye
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = np.hypot(y - DISC[0], x - DISC[1]) < DISC_RADIUS
    masks = []
    for seed in range(60):
        made, mask = paint_lesions(image, scene, np.random.RandomState(seed))
        masks.append(mask)
        assert np.abs(made - image)[:, disc].max() < 0.02, seed
        assert np.array_equal(
            made[:, ~ndimage.binary_dilation(inside, iterations=4)] == 0,
            image[:, ~ndimage.binary_dilation(inside, iterations=4)] == 0,
        )
    everywhere = np.any(masks, axis=0)
    assert not (everywhere & (disc | ~inside)).any()
    assert everywhere.sum() > 0.3 * inside.sum()  # and they are not all in one corner
    shares = np.array([mask.mean() for mask in masks])
    assert 1e-4 < np.median(shares) < 0.05  # lesions are small


@pytest.mark.parametrize("kind", KINDS)
def test_dark_lesions_darken_and_bright_ones_brighten(eye: Eye, kind: str) -> None:
    image, _, scene = eye
    for seed in range(5):
        made, mask = paint_lesions(image, scene, np.random.RandomState(seed), kinds=(kind,))
        if not mask.any():  # a single point below a pixel
            continue
        change = (made - image)[:, mask]
        if kind in DARK:
            assert change.max() <= 0
            assert change[1].mean() / image[1, mask].mean() < change[0].mean() / image[0, mask].mean()  # blood is red
        else:
            assert change[1].mean() > 0
            assert change.min() > -0.05


def test_haemorrhages_are_larger_than_microaneurysms(eye: Eye) -> None:
    image, _, scene = eye

    def largest(kind: str) -> float:
        sizes = []
        for seed in range(12):
            mask = paint_lesions(image, scene, np.random.RandomState(seed), kinds=(kind,))[1]
            labels, count = ndimage.label(mask)
            sizes.append(np.bincount(labels.ravel())[1:].max() if count else 0)
        return float(np.median(sizes))

    assert largest("haemorrhage") > 2 * largest("microaneurysm")


@pytest.mark.parametrize("scale", [1, 2])
def test_sizes_follow_the_field_of_view(eye: Eye, scale: int) -> None:
    """The same seed on the same eye at twice the resolution covers about the same share of it."""
    image, inside, scene = eye
    zoomed = np.stack([ndimage.zoom(channel, scale, order=0) for channel in image])
    big = fundus_scene(zoomed, ndimage.zoom(inside, scale, order=0))
    assert big.diameter == scale * scene.diameter
    small_share = np.mean([paint_lesions(image, scene, np.random.RandomState(s))[1].mean() for s in range(25)])
    share = np.mean([paint_lesions(zoomed, big, np.random.RandomState(s))[1].mean() for s in range(25)])
    assert 0.4 < share / small_share < 2.5


@pytest.mark.parametrize("kinds", [(), ("drusen",), ("haemorrhage", "drusen")])
def test_unknown_kinds(eye: Eye, kinds: tuple[str, ...]) -> None:
    image, _, scene = eye
    with pytest.raises(ValueError, match=r"kinds is \[.*\], expected some of \['microaneurysm', 'haemorrhage'"):
        paint_lesions(image, scene, np.random.RandomState(0), kinds=kinds)
