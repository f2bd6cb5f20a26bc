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
# # 1. Lesion screening: from a folder of photographs to maps, a threshold and a report
#
# A trained model for fundus photographs ships in `bundles/idrid`. It never saw a labelled lesion: it knows 107
# photographs without retinopathy and lesions painted on them. This notebook takes a folder, makes maps, and shows how
# to set a threshold on *your* normals.
#
# **Research use, not for diagnosis.** A map says where a photograph differs from the training normals, not what it
# shows.
#
# Without data it runs on made photographs ("phantoms"). They exercise the same code; **numbers on them say nothing
# about real eyes**. For your own, set `DATA` to a folder whose sub-folder `normal` holds photographs known to be
# normal and whose sub-folder `new` holds those to screen.

# %%
# %matplotlib inline
DATA = None

# %%
import json
import logging
import shlex
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from monai_cavga.__main__ import main
from monai_cavga.bundle import BundleDirectoryWorkflow
from monai_cavga.data import folder_items, phantom, read_image
from monai_cavga.plots import plot_gallery, plot_scores

BUNDLE = "../bundles/idrid"
logging.disable(logging.WARNING)  # MONAI's lines with the time


def command(line):
    """Run a command of the package here; on a command line, write `python -m monai_cavga` in front of it."""
    print(f"$ python -m monai_cavga {line}")
    print("exit code", main(shlex.split(line)))


# %% [markdown]
# ## The photographs
#
# Eight phantoms are known to be normal. Among the six new ones, four have lesions. The last file is no photograph at
# all, as happens in every real folder.

# %%
if DATA is None:
    folder = Path("photographs")
    for number in range(15):
        place = folder / ("normal" if number < 8 else "new")
        place.mkdir(parents=True, exist_ok=True)
        picture, mask = phantom(number, size=(208, 320), lesions=number in (9, 10, 12, 13, 14))
        if number == 14:
            picture = 255 * mask  # a mask, not a photograph
        Image.fromarray(picture).save(place / f"eye_{number + 1:02d}.png")
else:
    folder = Path(DATA)

new = folder_items(folder / "new")
figure = Figure(figsize=(9, 2.2), layout="constrained")
for axes, item in zip(figure.subplots(1, 4), new[:4], strict=False):
    axes.imshow(read_image(item["image"]))
    axes.set(title=item["name"], xticks=[], yticks=[])
figure

# %% [markdown]
# ## Maps
#
# One command reads the files in a process with limits, stops those that cannot be assessed, and writes a map at each
# photograph's own size. Exit code 3: some images, here the mask, were not localised, and the line says why.

# %%
command(f"localize {folder}/new --bundle {BUNDLE} --output maps/new")

# %% [markdown]
# Everything that was measured is in `results.json`:
#
# - **score**: one number for the image, from its map; higher is more anomalous;
# - **percentile**: how many of the *model's* held-out normals score lower. They are 27 eyes of one clinic and one
#   camera, so 100 means "above all 27", no more;
# - **area**: share of the field of view above the map's threshold (0.5, which 1 % of those normals' pixels exceed).


# %%
def results(place):
    """The images that were localised, as `localize` lists them."""
    found = json.loads(Path(place, "results.json").read_text())["images"]
    for each in found:
        if each["state"] == "ok":
            percentile = "unknown" if each["percentile"] is None else f"{each['percentile']:.1f}"
            line = f"score {each['score']:.3f}  percentile {percentile:>7}  area {each['area']:.3f}"
        else:
            line = f"{each['state']}: {each['reason']}"
        print(f"{Path(each['path']).stem}  {line}")
    return [each for each in found if each["state"] == "ok"]


screened = results("maps/new")

# %% [markdown]
# The gallery sorts by score. What is coloured lies above the map's threshold, outlined in magenta, on one scale for
# all images: a photograph in which nothing is found stays bare. Small outlines on normals are false alarms. They are
# expected, because the threshold lets one normal pixel in a hundred through.


# %%
def gallery(found, place):
    """Photographs with their maps, the highest score first."""
    images = [read_image(each["path"]).transpose(2, 0, 1) for each in found]
    maps = [np.asarray(Image.open(Path(place, each["files"]["map"]))) / 65535 for each in found]
    names = [Path(each["path"]).stem for each in found]
    return plot_gallery(images, maps, [each["score"] for each in found], names=names, columns=3)


gallery(screened, "maps/new")

# %% [markdown]
# `maps/new/index.html` is the same as a page for people: all images by score, with a slider for the opacity and one
# for the threshold. It needs no network, so it can be copied to any machine.
#
# ## A threshold from your own normals
#
# Which score is high? Ask photographs that *your* camera took of normal eyes. Here the threshold is the highest score
# among them: with eight normals no smaller false-alarm rate than about 1 in 8 can be told. It is fixed **before** the
# new scores are looked at.

# %%
command(f"localize {folder}/normal --bundle {BUNDLE} --output maps/normal")
of_normals = [each["score"] for each in results("maps/normal")]
threshold = max(of_normals)

# %%
plot_scores(of_normals, [each["score"] for each in screened], threshold=threshold, names=("own normals", "new"))

# %% [markdown]
# Orange are the new photographs; the two at the line are the eyes without lesions. The phantoms are easy. On real
# photographs (IDRiD) the histograms overlap: the image AUROC is about 0.9, see
# `benchmarks/results/synthetic_retina.md`.
#
# ## Calibration on your own normals
#
# A threshold on the score leaves the map as it is. `calibrate` goes further: it learns anew what normal features are,
# what your camera shows at each place of every photograph (dust, the rim), and which value of the map 1 % of your
# normal pixels exceed. Half of the normals teach it, the other half sets the thresholds. Fifty or more of each make
# sense; four and four only show how it is done.
#
# `python -m monai_cavga calibrate` reads IDRiD's folders. For plain ones, run the same bundle from Python with data
# lists in place of its own; the new photographs go in as test data, and calibrating on one of them would be refused.

# %%
normals = [{**item, "label": 0} for item in folder_items(folder / "normal")]
calibrating = BundleDirectoryWorkflow(
    BUNDLE,
    run_id="calibrating",
    logging_file=False,
    dataset_dir=str(folder),
    model_file=f"{BUNDLE}/models/model.safetensors",  # the shipped weights
    deployed_file="own/model.safetensors",  # the same weights again
    calibration_file="own/calibration.safetensors",
    fit_data=normals[::2],
    test_data=new,
    **{"validate::data": normals[1::2]},
)
calibrating.initialize()
calibrating.run()
_ = calibrating.finalize()

# %%
command(f"localize {folder}/new --bundle {BUNDLE} --output maps/own --calibration_file own/calibration.safetensors")
recalibrated = results("maps/own")

# %% [markdown]
# The percentile now counts your own held-out normals. With four of them it can only be 0, 25, 50, 75 or 100, and here
# even the two normal eyes score above all four: four are too few to rank anything. The order of the scores is what it
# was, the lesions are at the top; the areas moved a little, because the threshold now is your camera's.

# %%
gallery(recalibrated, "maps/own")

# %% [markdown]
# ## Before you believe it
#
# - The quality gate refuses what is no fundus photograph; what looks like one passes (`docs/clinical.md`).
# - The model looks for what resembles lesions of diabetic retinopathy. A wrong disc, a new vessel or a scar need not
#   score.
# - A low score is no finding of health.
#
# Next: [your own data set](02_your_own_data.ipynb), and [how far a map can be trusted](05_reading_a_map.ipynb).
