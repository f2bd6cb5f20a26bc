"""The text and the pictures of tables 3 and 6, from finished cells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bars import Bar, draw_bars, seeds_bar
from latent_search import SEARCH_STEPS
from measuring import IMAGE_QUANTILE, PIXEL_QUANTILE
from methods import LEFT_OUT, METHODS
from paper_numbers import CATEGORIES, TABLE3_AUROC, TABLE3_IOU, TABLE6_ACCURACY
from reconstruction_models import PROJECTION_STEPS
from reporting import difference, mean, notes, places, spread
from saliency import SAMPLES
from table3_beyond import SET_BESIDE, beyond, beyond_bar

from monai_cavga.handlers.files import NOTICE, write_atomic

Results = Sequence[Mapping[str, Any]]


class Table(NamedTuple):
    """One of the two tables."""

    number: int
    title: str
    part: str  # of a cell's report
    metrics: dict[str, str]  # column -> name in the report
    paper: dict[str, tuple[float, ...]]  # by method, then by category
    paper_name: str
    judged: Callable[[str], str]  # method -> metric that the paper's number is set beside
    words: str


def _judged_iou(method: str) -> str:
    return "iou@0.5_images" if method.startswith("CAVGA") else "iou_oracle_images"


TABLE3 = Table(
    3,
    "Localisation",
    "localisation",
    {
        "IoU@0.5 images": "iou@0.5_images",
        "IoU@0.5 pooled": "iou@0.5_pooled",
        "IoU@held-out images": "iou_held_out_images",
        "IoU* images": "iou_oracle_images",
        "IoU* pooled": "iou_oracle_pooled",
        "pixel AUROC": "pixel_auroc",
    },
    TABLE3_IOU,
    "IoU",
    _judged_iou,
    "`images`: mean over the anomalous test images; `pooled`: over all pixels. `@0.5`: as the paper states for CAVGA. "
    f"`@held-out`: at the {PIXEL_QUANTILE:g} quantile of held-out normals' pixels. `*`: threshold chosen on the test "
    "set (oracle). The difference is of IoU@0.5 images for CAVGA and of IoU* images for the others, whose thresholds "
    "the paper's authors chose by anomalous images: a comparison that favours the others.",
)
TABLE6 = Table(
    6,
    "Detection",
    "detection",
    {
        "accuracy, paper's rule": "accuracy_paper",
        "accuracy, held-out": "accuracy_held_out",
        "image AUROC": "image_auroc",
    },
    TABLE6_ACCURACY,
    "accuracy",
    lambda method: "accuracy_paper",
    "Accuracy: mean of that on normal and on anomalous images. The paper's rule: CAVGA_w, and here every classifier, "
    "decides by its own two outputs; the others' scores are brought to [0, 1] over the test set and cut at 0.5. "
    f"`held-out`: cut at the {IMAGE_QUANTILE:g} quantile of held-out normals' scores, which needs no test image. "
    "Score: the mean of |x - x^| for CAVGA_u (Sec. 3.1), of its map or residual for the others.",
)
READINGS = {
    "CAVGA": "1 - A of CAVGA_u, A^{c_a} of CAVGA_w; R: ResNet-18 to layer3 and residual decoder, D: DCGAN's networks "
    "with weights drawn at random (the paper's are pretrained on CelebA).",
    "AE_L2, AE_SSIM": "CAVGA-R's encoder and decoder, z = mu, no KL, no discriminator; map: squared error, and "
    "(1 - SSIM) / 2 of 11 x 11 windows.",
    "gamma-VAE_g": "our reading of Dehaene et al. 2020: a VAE whose decoder's variance is at its optimum, then "
    f"gradient descent on its energy from the image on; map: how far each pixel moved. {PROJECTION_STEPS} steps "
    "(theirs: hundreds).",
    "ADVAE": "our reading of Liu et al. 2020: a VAE with a flat latent of 100 values, Grad-CAM of each value of mu, "
    "their mean; high where the anomaly is, so it is not turned round as CAVGA_u's is.",
    "AnoGAN": "DCGAN's generator from a vector of 100 values against CAVGA's discriminator, then Adam on the vector: "
    f"{SEARCH_STEPS} steps (theirs: 500). Score: 0.9 residual + 0.1 distance of the discriminator's features.",
    "CAM, GBP, SmoothGrad": "by captum, of one classifier: CAVGA-R's encoder, a mean over positions, two outputs; "
    f"learnt from the same labels as CAVGA_w. The paper has them on LAG only (IoU 0.13, 0.09, 0.14). {SAMPLES} "
    "noisy copies (theirs: 50).",
}


def write_tables(results: Results, *, output: Path, settings: Mapping[str, Any], fast: bool) -> None:
    """Write ``table3.md``, ``table6.md`` and their pictures.

    Args:
        results: cells of any categories, methods and seeds.
        output: folder.
        settings: of all cells.
        fast: the cells are only a trial; it stands in the names.
    """
    end = "-fast" if fast else ""
    said = {}
    for category in categories(results):
        commits = [each["training"]["commit"] for each in results if each["category"] == category]
        said[category] = notes(output, f"table3{end}_{category}", commits)
    for table in (TABLE3, TABLE6):
        name = f"table{table.number}{end}"
        more = {} if fast else {each: _beyond(table, output, each) for each in said}
        text = markdown(table, results, said=said, settings=settings, fast=fast, more=more)
        write_atomic(output / f"{name}.md", text.encode())
        bars = [_bar(table, results, method) for method in METHODS if _of(results, method)]
        if not fast:
            bars += [bar for each in said if (bar := _beyond_bar(table, output, each)) is not None]
        there = ", ".join(categories(results))
        draw_bars(output / f"{name}.png", bars, title=f"{table.title}: {table.paper_name}, {there}")


def markdown(
    table: Table,
    results: Results,
    *,
    said: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
    fast: bool,
    more: Mapping[str, Sequence[str]],
) -> str:
    """One table: a section for each category, their mean where there are several, how to read it, where it was made."""
    height, width = settings["image_size"]
    weights = sorted({each["encoder_weights"] for each in results} - {"none"}) or ["none"]
    lines = [
        f"# Table {table.number} of the paper: {table.title.lower()} on MVTec AD",
        "",
        f"Made by `python benchmarks/paper.py collect table{table.number}{' --fast' if fast else ''}` from the JSON "
        f"files beside it. {table.words} {height} x {width} pixels, batch {settings['batch_size']}, epochs: "
        f"{settings['epochs']}, the same batches for every method, weight of L_adv 0.01 (paper: 1), three stages of "
        f"ResNet-18 (paper: four), discriminator of width {settings['discriminator_channels']}, a fifth of the "
        f"training normals held out, encoder's first weights for R and the classifier: {' and '.join(weights)}. The "
        "trainings are short and equally short for all: an order of rows speaks of these. CAVGA keeps the epoch that "
        "reconstructs held-out normals best, the others their last. Rows with labels learn from "
        "2 % of the test anomalies, which leave the test set. Mean ± standard deviation over seeds where there are "
        "several.",
    ]
    there = categories(results)
    for category in there:
        cells = [each for each in results if each["category"] == category]
        lines += ["", *_section(table, cells, category, said=said[category])]
        if more.get(category):
            lines += ["", *more[category]]
    if len(there) > 1:
        lines += ["", *_mean_section(table, results, there)]
    lines += ["", "## How each row is read", ""]
    lines += [f"- {name}: {words}" for name, words in READINGS.items()]
    lines += ["", "## Systems of the paper that are left out", ""]
    lines += [f"- {name}: {words}." for name, words in LEFT_OUT.items()]
    names = [f"{each['category']} {each['method']} seed {each['seed']}" for each in results]
    lines += ["", "## Where it was measured", "", *places(results, names), "", NOTICE]
    return "\n".join(lines) + "\n"


def _beyond(table: Table, output: Path, category: str) -> list[str]:
    """Ours, below the methods of one category."""
    return beyond(
        output,
        category,
        metrics=table.metrics,
        name=table.paper_name,
        judged=table.judged(SET_BESIDE),
        paper=_paper(table, SET_BESIDE, [category]),
    )


def _beyond_bar(table: Table, output: Path, category: str) -> Bar | None:
    """The map that the table is of: the paper's IoU is the attention's, its accuracy that of an image's score."""
    key = "attention" if table.number == 3 else "fused"
    paper = _paper(table, SET_BESIDE, [category])
    return beyond_bar(output, category, key=key, judged=table.judged(SET_BESIDE), paper=paper)


def categories(results: Results) -> list[str]:
    """Those of the cells, in the paper's order, others after them."""
    there = {each["category"] for each in results}
    return [each for each in CATEGORIES if each in there] + sorted(there - set(CATEGORIES))


def _section(table: Table, results: Results, category: str, *, said: Sequence[str]) -> list[str]:
    counts = results[0]["report"]["n_images"]
    lines = [
        f"## {category}",
        "",
        *(line for each in said for line in (each, "")),
        f"Held-out normals: {counts['held out']}; test: {counts['normal']} normal images.",
        "",
        *_head(table),
    ]
    for method in METHODS:
        rows = _of(results, method)
        if rows:
            values = {key: [row["report"][table.part][key] for row in rows] for key in table.metrics.values()}
            lines.append(_row(table, method, values, _paper(table, method, [category]), n=len(rows)))
    return lines


def _mean_section(table: Table, results: Results, there: Sequence[str]) -> list[str]:
    """Means over categories, of methods and seeds that were measured on all of them."""
    lines = [f"## Mean over {len(there)} of the 15 categories", "", *_head(table)]
    for method in METHODS:
        values = _category_means(table, results, method, there)
        n = len(next(iter(values.values())))
        if n:
            lines.append(_row(table, method, values, _paper(table, method, there), n=n))
        elif _of(results, method):
            lines.append(
                f"| {method} | {METHODS[method].title} | 0 |{' – |' * (len(table.metrics) + 2)}{_tail(table, method)}"
            )
    return lines


def _category_means(table: Table, results: Results, method: str, there: Sequence[str]) -> dict[str, list[float | None]]:
    """By metric, for every seed that has all categories, the mean over them."""
    rows = _of(results, method)
    by_seed = {seed: [row for row in rows if row["seed"] == seed] for seed in sorted({row["seed"] for row in rows})}
    whole = [cells for cells in by_seed.values() if len(cells) == len(there)]
    return {
        key: [mean([cell["report"][table.part][key] for cell in cells]) for cells in whole]
        for key in table.metrics.values()
    }


def _head(table: Table) -> list[str]:
    titles = ["method", "", "seeds", *table.metrics, f"paper's {table.paper_name}", "ours - paper"]
    if table.number == 3:
        titles.append("paper's pixel AUROC, mean of 15")
    return [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]


def _row(
    table: Table, method: str, values: Mapping[str, Sequence[float | None]], paper: float | None, *, n: int
) -> str:
    ours = " | ".join(spread(values[key]) for key in table.metrics.values())
    less = difference(values[table.judged(method)], paper)
    number = "–" if paper is None else f"{paper:.2f}"
    return f"| {method} | {METHODS[method].title} | {n} | {ours} | {number} | {less} |{_tail(table, method)}"


def _tail(table: Table, method: str) -> str:
    if table.number != 3:
        return ""
    return f" {TABLE3_AUROC[method]:.2f} |" if method in TABLE3_AUROC else " – |"


def _bar(table: Table, results: Results, method: str) -> Bar:
    """Ours, judged, over the categories that this method has."""
    there = categories(_of(results, method))
    ours = _category_means(table, results, method, there)[table.judged(method)]
    return seeds_bar(method, ours, _paper(table, method, there))


def _paper(table: Table, method: str, there: Sequence[str]) -> float | None:
    """The paper's mean over these categories; None if it lacks the method or one of them."""
    if method not in table.paper or not set(there) <= set(CATEGORIES):
        return None
    return float(np.mean([table.paper[method][CATEGORIES.index(each)] for each in there]))


def _of(results: Results, method: str) -> list[Mapping[str, Any]]:
    return [each for each in results if each["method"] == method]
