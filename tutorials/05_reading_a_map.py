# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. Reading a map: what it says, and when not to trust it
#
# A map is drawn for every photograph, also where there is nothing to find and also where the method cannot work. This
# notebook looks at both: how scores and thresholds hold up on normal eyes, and what fools the shipped model.
#
# It runs on phantoms; **numbers on them say nothing about real eyes**. For your own set `DATA` to a folder with the
# sub-folders `normal`, `anomalous` and `masks` (of the anomalous ones, same names, PNG, white = lesion).

# %%
# %matplotlib inline
DATA = None

# %%
import io
import json
import shlex
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageEnhance, ImageFilter

from monai_cavga.__main__ import main
from monai_cavga.data import phantom, read_image, read_mask
from monai_cavga.plots import plot_froc, plot_gallery, plot_roc, plot_scores
from monai_cavga.transforms import field_of_view

BUNDLE = "../bundles/idrid"


def localised(place):
    """Run `localize` on a folder; results by name, of all images that were read."""
    main(shlex.split(f"localize {place} --bundle {BUNDLE} --output maps/{place.name} --write map"))
    found = json.loads(Path("maps", place.name, "results.json").read_text())["images"]
    return {Path(each["path"]).stem: each for each in found}


def photograph(entry):
    """`(3, H, W)` in [0, 1]."""
    return read_image(entry["path"]).transpose(2, 0, 1)


def map_of(entry):
    """`(H, W)` in [0, 1]."""
    path = Path("maps", Path(entry["path"]).parent.name, entry["files"]["map"])
    return np.asarray(Image.open(path), np.float32) / 65535


# %%
if DATA is None:
    folder = Path("eyes")
    for number in range(14):
        picture, mask = phantom(100 + number, size=(208, 320), lesions=number >= 8)
        names = ("anomalous", "masks") if number >= 8 else ("normal",)
        for name, content in zip(names, (picture, 255 * mask), strict=False):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(folder / name / f"eye_{number + 1:02d}.png")
else:
    folder = Path(DATA)

normal = [each for each in localised(folder / "normal").values() if each["state"] == "ok"]
anomalous = [each for each in localised(folder / "anomalous").values() if each["state"] == "ok"]

# %% [markdown]
# ## One scale for all, or every image shines
#
# A habit to unlearn: stretching each map from its own lowest to its own highest value. Then the brightest place of
# *every* normal photograph looks like a finding. Left, the map of a normal eye stretched so; right, the same map on
# the fixed scale that this package always uses, where 0.5 is the threshold. "Nothing found" must be a possible
# picture.

# %%
quiet = min(normal, key=lambda each: each["score"])
values = map_of(quiet)
figure = Figure(figsize=(9, 2.6), layout="constrained")
shown = {"its own scale: do not": (values.min(), values.max()), "fixed scale, 0 to 1": (0, 1)}
for axes, (title, (low, high)) in zip(figure.subplots(1, 2), shown.items(), strict=True):
    drawn = axes.imshow(values, vmin=low, vmax=high, cmap="magma")
    axes.set(title=title, xticks=[], yticks=[])
    figure.colorbar(drawn, ax=axes)
figure

# %% [markdown]
# ## Is the threshold what it says?
#
# The map's threshold is set so that 1 % of the pixels of the model's held-out normals exceed it. On **your** normals
# the share may be another: measure it. Each bar is one normal photograph.

# %%
areas = 100 * np.array([each["area"] for each in normal])
figure = Figure(figsize=(6, 2.8), layout="constrained")
axes = figure.subplots()
axes.bar(range(1, len(areas) + 1), areas, color="#0072b2")
axes.axhline(1, color="black", linestyle="--", label="stated: 1 %")
axes.axhline(areas.mean(), color="#d55e00", label=f"here: {areas.mean():.2f} % on average")
axes.set(xlabel="normal photograph", ylabel="% of the eye above", ylim=(0, 1.5 * max(1, areas.max())))
axes.legend(loc="upper right")
figure

# %% [markdown]
# Two things to see. Every normal photograph has *some* false alarm: 1 % of an eye is many pixels. And the average
# hides the worst image. If the average is far from 1 %, the calibration is not yours: calibrate ([notebook
# 1](01_lesion_screening.ipynb)).
#
# ## How sure can a threshold on the score be?
#
# Say no normal photograph out of `n` scores above a threshold. The true rate of false alarms can still be as high as
# the curve (95 % confidence). With 8 normals that is almost a third; to claim "below 5 %" you need 59, and none of
# them above.

# %%
n = np.arange(3, 121)
figure = Figure(figsize=(6, 2.8), layout="constrained")
axes = figure.subplots()
axes.plot(n, 100 * (1 - 0.05 ** (1 / n)), color="#0072b2")
for number, text in ((len(normal), "here"), (27, "the shipped model"), (59, "")):
    axes.plot([number], [100 * (1 - 0.05 ** (1 / number))], "o", color="#d55e00")
    axes.annotate(
        f"n = {number} {text}", (number, 100 * (1 - 0.05 ** (1 / number))), (6, 6), textcoords="offset points"
    )
axes.set(xlabel="normal photographs, none of them above the threshold", ylabel="false alarms: up to %", ylim=(0, 70))
figure

# %% [markdown]
# ## Scores of images: histogram and ROC
#
# The threshold here is the highest score of the normals themselves, so "none above" holds by construction. The ROC
# curve shows all thresholds at once, with its 95 % interval: a handful of images cannot tell 0.9 from 1.

# %%
of_normal, of_anomalous = ([each["score"] for each in group] for group in (normal, anomalous))
plot_scores(of_normal, of_anomalous, threshold=float(np.nextafter(max(of_normal), np.inf)))

# %%
plot_roc([*of_normal, *of_anomalous], [0] * len(of_normal) + [1] * len(of_anomalous))

# %% [markdown]
# An AUROC of 1.000 whose interval is [1.000, 1.000] is no proof of perfection: the bootstrap draws from the images
# that are there, and cannot know of a harder one. On 34 normal and 96 anomalous photographs of IDRiD the same model
# has an image AUROC of about 0.9 (`benchmarks/results/synthetic_retina.md`).
#
# ## Lesions: FROC
#
# For screening, an image score may do. To *show* lesions, count them: how many are found, at how many false spots per
# photograph? A lesion counts as found when one pixel of it is above the threshold.

# %%
maps, masks = [], []
for entry in [*normal, *anomalous]:
    place = folder / "masks" / f"{Path(entry['path']).stem}.png"
    if entry in anomalous and not place.is_file():
        continue  # not known where its lesions are
    inside = field_of_view(photograph(entry))
    mask = read_mask(str(place)).astype(np.int8) if entry in anomalous else np.zeros(inside.shape, np.int8)
    masks.append(np.where(inside, mask, -1))  # nothing outside the field of view counts
    maps.append(map_of(entry))
plot_froc(maps, masks)

# %% [markdown]
# The axis of false spots is logarithmic and goes to 8 a photograph. On phantoms nearly every lesion is found at once.
# Real ones are many and tiny: on IDRiD the same model's FROC is 0.14, about one lesion in seven at such rates
# (`benchmarks/results/synthetic_retina_k0_seed0.json`), although its image AUROC is 0.9. In the gallery white is the
# truth and magenta what is above the threshold: small outlines without white are false spots, also here.

# %%
truth = [read_mask(str(folder / "masks" / f"{Path(each['path']).stem}.png")) for each in anomalous]
plot_gallery(
    [photograph(each) for each in anomalous], [map_of(each) for each in anomalous], of_anomalous, masks=truth, columns=3
)

# %% [markdown]
# ## When not to trust it
#
# One and the same **normal** eye, changed as a camera, a cable or a hurried examination would. None of these is a
# lesion.

# %%
eye = Image.open(quiet["path"]).convert("RGB")
dusty = np.array(eye).astype(np.float32)
rows, columns = np.mgrid[: eye.height, : eye.width]
for x, y in ((0.38, 0.42), (0.55, 0.63)):  # dust on the sensor
    spot = np.exp(-((columns - x * eye.width) ** 2 + (rows - y * eye.height) ** 2) / (2 * 3.5**2))
    dusty *= 1 - 0.7 * spot[..., None]
red, green, blue = eye.split()
buffer = io.BytesIO()
eye.save(buffer, format="JPEG", quality=8)
changed = {
    "as it was": eye,
    "dust": Image.fromarray(dusty.astype(np.uint8)),
    "out of focus": eye.filter(ImageFilter.GaussianBlur(3)),
    "dark": ImageEnhance.Brightness(eye).enhance(0.25),
    "bluish camera": Image.merge("RGB", (red.point(lambda v: 0.75 * v), green, blue.point(lambda v: 1.8 * v))),
    "JPEG, quality 8": Image.open(buffer),
}
place = Path("changed")
place.mkdir(exist_ok=True)
for name, picture in changed.items():
    picture.save(place / f"{name}.png")
found = localised(place)
limit = max(of_normal)
for name, each in found.items():
    told = (
        f"score {each['score']:.3f}{', above all normals' if each['score'] > limit else ''}"
        if each["state"] == "ok"
        else each["reason"]
    )
    print(f"{name:>16}: {told}")

# %%
read = {name: each for name, each in found.items() if each["state"] == "ok"}
plot_gallery(
    [photograph(each) for each in read.values()],
    [map_of(each) for each in read.values()],
    [each["score"] for each in read.values()],
    names=list(read),
    columns=3,
)

# %% [markdown]
# - What the **quality gate** recognises, here the loss of focus, is refused: no map is better than a wrong one.
# - What it does not recognise gets a map like any other. **Dust is dark, round and small, as a haemorrhage is**, and
#   the map cannot know. The calibration subtracts what *every* photograph of a camera shows at a place, but only of
#   the camera it was made on. Blocks of a strong compression look like anything.
# - The dark photograph passed, by a hair, and scores **lower** than the eye did. A lesion in it would score lower, too:
#   it would be missed without a word. Another camera's colours move scores as well.
#
# ## A short list for the reader
#
# 1. A map says *different from the training normals*. It names no disease, and what it marks may be harmless.
# 2. A bare map is no finding of health: what does not resemble a painted lesion may be missed, and so may small
#    lesions.
# 3. A score means something only beside scores of normals from the same camera: look at the percentile, and at its
#    `n`.
# 4. Thresholds are fixed on normals before the images to judge are looked at. Chosen afterwards, they are called
#    *oracle*.
# 5. Numbers without an interval, or of another clinic, are not your numbers.
