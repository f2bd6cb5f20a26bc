"""Made defects: the same for the same seed, where their mask says, visible; the noise and the object behind them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from monai_cavga.transforms import make_defects
from monai_cavga.transforms.defects import DEFECTS, object_region, perlin

HEIGHT, WIDTH = 72, 104

Image = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def part(channels: int) -> tuple[Image, Mask]:
    """A striped ellipse left of the middle on a plain light background, and where it is."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = ((y - 40) / 24) ** 2 + ((x - 44) / 34) ** 2 < 1
    stripes = 0.35 + 0.15 * np.sin(x / 3 + y / 7)
    grey = np.where(inside, stripes, 0.85) + np.random.RandomState(0).normal(0, 0.004, (HEIGHT, WIDTH))
    image = grey * np.array([1.0, 0.9, 0.8])[:channels, None, None]
    return np.clip(image, 0, 1).astype(np.float32), inside


def damage(seed: int, *, channels: int, kinds: tuple[str, ...] = tuple(DEFECTS)) -> tuple[Image, Image, Mask]:
    image, inside = part(channels)
    donor = np.ascontiguousarray(image[:, ::-1, ::-1])
    return (image, *make_defects(image, donor, inside, np.random.RandomState(seed), kinds=kinds))


# --- noise ---


def test_perlin_is_0_on_the_lattice_and_smooth() -> None:
    noise = perlin((40, 60), (4, 5), np.random.RandomState(0))
    assert noise.shape == (40, 60)
    assert noise.dtype == np.float32
    np.testing.assert_allclose(noise[::10, ::12], 0, atol=1e-6)
    assert 0.5 < np.abs(noise).max() <= 1.01
    assert np.abs(np.diff(noise, axis=0)).max() < 0.4  # ten pixels a cell: no jump between two
    assert np.abs(np.diff(noise, axis=1)).max() < 0.35


def test_perlin_by_hand() -> None:
    """One cell: in its middle every corner counts a quarter of sqrt(2) times gradient times offset."""
    random, again = np.random.RandomState(1), np.random.RandomState(1)
    noise = perlin((2, 2), (1, 1), random)
    angle = again.uniform(0, 2 * np.pi, (2, 2))
    expected = sum(np.cos(angle[i, j]) * (0.5 - j) + np.sin(angle[i, j]) * (0.5 - i) for i in (0, 1) for j in (0, 1))
    assert noise[1, 1] == pytest.approx(np.sqrt(2) / 4 * expected, rel=1e-5)


def test_perlin_takes_cells_that_do_not_divide_the_size() -> None:
    noise = perlin((7, 11), (3, 16), np.random.RandomState(0))
    assert noise.shape == (7, 11)
    assert np.isfinite(noise).all()


# --- the object ---


@pytest.mark.parametrize("channels", [1, 3])
def test_the_object_on_a_plain_background(channels: int) -> None:
    image, inside = part(channels)
    found = object_region(image)
    assert (found & inside).sum() / (found | inside).sum() > 0.85
    assert (found | ~inside).mean() > 0.97  # nearly all of the object is in it


@pytest.mark.parametrize("kind", ["texture", "flat"])
def test_without_an_object_everything_is_region(kind: str) -> None:
    image = np.random.RandomState(0).rand(3, 40, 60) if kind == "texture" else np.full((3, 40, 60), 0.4)
    region = object_region(image.astype(np.float32))
    assert region.shape == (40, 60)
    assert region.all()


# --- damage ---


@pytest.mark.parametrize("channels", [1, 3])
def test_one_seed_is_one_picture(channels: int) -> None:
    first, second, other = (damage(seed, channels=channels) for seed in (5, 5, 6))
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(first[2], second[2])
    assert not np.array_equal(first[1], other[1])
    assert np.array_equal(first[0], part(channels)[0])  # the input is not damaged


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", list(DEFECTS))
def test_what_changes_is_near_the_mask(kind: str, channels: int) -> None:
    visible = 0
    for seed in range(8):
        image, made, mask = damage(seed, channels=channels, kinds=(kind,))
        assert made.shape == image.shape
        assert made.dtype == np.float32
        assert mask.shape == (HEIGHT, WIDTH)
        assert mask.dtype == bool
        assert made.min() >= -1e-6
        assert made.max() <= 1 + 1e-6
        change = np.abs(made - image).mean(axis=0)
        if not mask.any():  # a patch like what it covers
            assert change.mean() < 0.01
            continue
        visible += 1
        assert change[mask].mean() > 0.015
        far = ~ndimage.binary_dilation(mask, iterations=8)
        assert change[far].mean() < 0.1 * change[mask].mean()
    assert visible >= 5


def test_an_image_has_up_to_most_damages() -> None:
    image, _ = part(1)
    flat = np.full_like(image, 0.5)
    counts = []
    for seed in range(40):
        region = np.ones((HEIGHT, WIDTH), bool)
        mask = make_defects(flat, flat, region, np.random.RandomState(seed), kinds=("stain",), most=2)[1]
        counts.append(ndimage.label(ndimage.binary_dilation(mask, iterations=2))[1])
    assert set(counts) >= {1, 2}
    single = [
        ndimage.label(
            make_defects(flat, flat, np.ones_like(flat[0], bool), np.random.RandomState(s), kinds=("stain",), most=1)[
                1
            ],
            np.ones((3, 3)),
        )[1]
        for s in range(20)
    ]
    assert np.median(single) == 1


@pytest.mark.parametrize("kind", ["stain", "erase", "texture"])
def test_damage_begins_on_the_object(kind: str) -> None:
    reach = []
    for seed in range(10):
        _, _, mask = damage(seed, channels=3, kinds=(kind,))
        if mask.any():
            reach.append((mask & part(3)[1]).sum() / mask.sum())
    assert np.mean(reach) > 0.6


def test_an_empty_region_means_everywhere() -> None:
    image, _ = part(3)
    nowhere, everywhere = np.zeros((HEIGHT, WIDTH), bool), np.ones((HEIGHT, WIDTH), bool)
    made = [make_defects(image, image, region, np.random.RandomState(2)) for region in (nowhere, everywhere)]
    assert np.array_equal(made[0][0], made[1][0])
    assert np.array_equal(made[0][1], made[1][1])


def test_a_stain_keeps_texture_and_an_erasure_does_not() -> None:
    """Behind a stain the stripes stay; an erased part is as smooth as its surroundings blurred."""
    stripes = np.tile(0.5 + 0.3 * np.sin(np.arange(WIDTH)), (1, HEIGHT, 1)).astype(np.float32)
    region = np.ones((HEIGHT, WIDTH), bool)

    def roughness(kind: str, seed: int) -> float:
        made, mask = make_defects(stripes, stripes, region, np.random.RandomState(seed), kinds=(kind,), most=1)
        core = ndimage.binary_erosion(mask, iterations=2)
        steps = np.abs(np.diff(made[0], axis=1))[core[:, 1:]]
        return float(np.nanmean(steps)) if steps.size else float("nan")

    stained, erased = (np.nanmean([roughness(kind, s) for s in range(12)]) for kind in ("stain", "erase"))
    assert erased < 0.5 * stained


@pytest.mark.parametrize("kinds", [(), ("rust",), ("bend", "rust")])
def test_unknown_kinds(kinds: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"kinds is \[.*\], expected some of \['cut_paste', 'texture', 'stain'"):
        damage(0, channels=1, kinds=kinds)
