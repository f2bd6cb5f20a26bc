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
# # 2. Your own data: normals only, then four labels
#
# The shipped model knows fundus photographs. For anything else you train. This notebook trains the paper's network
# (CAVGA) twice, once on normal images alone and once with **four** anomalous images that have nothing but an image
# label, and looks at what the four labels buy.
#
# On phantoms it takes a minute or two, at a size and for a time that no real training would use: **look at the way,
# not at the numbers**. For your own data set `DATA` to a folder in LAG's layout (the names are LAG's, the images may
# be anything):
#
# ```text
# DATA/LAG_database_part_1/non_glaucoma/image/           normal images
# DATA/LAG_database_part_1/suspicious_glaucoma/image/    anomalous ones, for the test and the four labels
# DATA/LAG_database_part_1/suspicious_glaucoma/attention_map/   their masks, same names, where you have them
# ```

# %%
# %matplotlib inline
DATA = None

# %%
import csv
import json
import logging
import shlex
from pathlib import Path

from PIL import Image

from monai_cavga.__main__ import main
from monai_cavga.data import lag_items, write_phantoms
from monai_cavga.plots import plot_roc, plot_scores

BUNDLE = "../bundles/lag"
logging.disable(logging.INFO)  # the lines of each epoch


def command(line):
    """Run a command of the package here; on a command line, write `python -m monai_cavga` in front of it."""
    print(f"$ python -m monai_cavga {line}")
    print("exit code", main(shlex.split(line)))


# %% [markdown]
# ## What is there
#
# `check-data` says what a folder holds and what is missing, before anything is trained.

# %%
data = DATA or write_phantoms("phantoms", normal=40, anomalous=24, size=(64, 96), progress=False)
command(f"check-data {data}")

# %% [markdown]
# The split is made from the names by seed: most normals train, a fifth of those is held out, the rest and all
# anomalous images are for the test. No image is in two of the three.

# %%
for section in ("training", "validation", "test"):
    labels = [item["label"] for item in lag_items(data, section)]
    print(f"{section}: {labels.count(0)} normal, {labels.count(1)} anomalous")

# %% [markdown]
# ## Normals only: CAVGA_u
#
# The network learns to reconstruct normal images and to spread its attention over all of each. Where attention is
# missing at test time should be the anomaly. The options below make it small and fast on phantoms; on real images the
# bundle's own hold: 256 pixels, ImageNet weights for the encoder, 40 epochs.

# %%
if DATA is None:
    SMALL = "--image_size [64,96] --stages 2 --latent_channels 16"
    TRAINING = "--encoder_weights none --discriminator_channels 8 --batch_size 4 --learning_rate 1e-3 --epochs 4"
else:
    SMALL = "--stages 3"  # keeps more detail than the paper's 4
    TRAINING = "--encoder_weights imagenet"


def train_and_evaluate(name, network):
    """Train a network, and evaluate it on the test images; everything goes into one folder."""
    files = f"--dataset_dir {data} --model_file {name}/model.pt {SMALL} {network}"
    command(f"run training --config {BUNDLE} {files} --state_file {name}/state.pt --output_dir {name}/log {TRAINING}")
    evaluated = files.replace("--anomalous_fraction 0.5 --w_c 1.0", "")  # of training alone
    command(f"run evaluating --config {BUNDLE} {evaluated} --evaluation_dir {name}/eval --max_panels 4")


train_and_evaluate("normals_only", "--head none")

# %% [markdown]
# The contact sheet: photograph, reconstruction, residual (what the reconstruction lacks), attention, the map over the
# photograph, and the true mask.


# %%
def sheet(name):
    """The contact sheet of an evaluation, small enough for a notebook."""
    picture = Image.open(Path(name, "eval", "contact_sheet.png")).convert("RGB")
    picture.thumbnail((720, 720))
    return picture


sheet("normals_only")

# %% [markdown]
# ## With four labels: CAVGA_w
#
# Four anomalous images go into the training, drawn by seed, as image labels only: nobody draws a mask. A small
# classifier on the latent learns to tell them, and its attention for "anomalous" is the map. They are repeated until
# they fill half of an epoch (`anomalous_fraction`), and they leave the test.

# %%
train_and_evaluate("four_labels", "--head conv --labelled 4 --anomalous_fraction 0.5 --w_c 1.0")

# %%
sheet("four_labels")

# %% [markdown]
# ## What they buy
#
# `report.md` in each folder has every number; here are three, with 95 % intervals over images. (The second test set
# lacks the four labelled images.)

# %%
KEYS = ("pixel_auroc", "aupro", "image_auroc")
print(" " * 26, *(f"{key:>22}" for key in KEYS))
for name in ("normals_only", "four_labels"):
    report = json.loads(Path(name, "eval", "report.json").read_text())["maps"]
    for each in ("attention", "residual"):
        row = report[each]
        cells = []
        for key in KEYS:
            interval = row.get(f"{key}_interval")
            between = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
            cells.append("none" if row[key] is None else f"{row[key]:.2f}{between}")
        print(f"{name:>14} {each:>11}", *(f"{cell:>22}" for cell in cells))

# %% [markdown]
# On these phantoms the attention of the network that saw normals only is near chance (0.5) for pixels, and four
# labels change that. The residual needs no label and is the better of the two maps without one. Image scores on the
# same images:


# %%
def scores(name):
    """Image scores of the attention map by name, and labels."""
    with Path(name, "eval", "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["name"]: (float(row["attention"]), int(row["label"])) for row in rows}


without, with_labels = scores("normals_only"), scores("four_labels")
without = {name: without[name] for name in with_labels}  # the same test images
plot_roc(*zip(*without.values(), strict=True))

# %%
plot_roc(*zip(*with_labels.values(), strict=True))

# %% [markdown]
# The shaded band is the 95 % interval, drawn by resampling the images: few test images, a wide band. Read no
# difference into two curves whose bands overlap.

# %%
plot_scores(*([score for score, label in with_labels.values() if label == which] for which in (0, 1)))

# %% [markdown]
# ## What to expect on real images
#
# From this repository's own measurements on IDRiD (`README.md`, `benchmarks/results/`), one camera, 107 normals:
#
# | trained on | pixel AUROC without labels | with four |
# |---|---|---|
# | normals only, the paper's networks (attention) | 0.59 | 0.73 |
# | **made** anomalies painted on the normals (`run synthetic_training`) | 0.96 | 0.96 |
#
# So labels help most where the training has no other idea of an anomaly. Made anomalies bring that idea without a
# label, and four labels on top then buy nothing that shows above the interval. Try `run synthetic_training` first
# (`docs/made_anomalies.md`, `bundles/idrid/docs/README.md`); it needs ImageNet weights for the encoder and an hour or
# more.
#
# Next: [a table of the paper](03_a_table_of_the_paper.ipynb).
