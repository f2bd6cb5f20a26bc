"""The text of table 7, from finished cells; what the paper's numbers are and which scores stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from bars import Bar, seeds_bar
from reporting import places, spread
from running import IMAGENET

from monai_cavga.data.one_class import CLASSES

Results = Sequence[Mapping[str, Any]]
Features = Mapping[int, Mapping[str, Any]]  # by class, results of ImageNet features


class DataSet(NamedTuple):
    """One half of the table."""

    title: str
    paper: tuple[float, ...]  # CAVGA-D_u by class
    paper_mean: float


DATA_SETS: dict[str, DataSet] = {
    "mnist": DataSet(
        "MNIST",
        (0.994, 0.997, 0.989, 0.983, 0.977, 0.968, 0.988, 0.986, 0.988, 0.991),
        0.986,
    ),
    "cifar10": DataSet(
        "CIFAR-10",
        (0.653, 0.784, 0.761, 0.747, 0.775, 0.552, 0.813, 0.745, 0.801, 0.741),
        0.737,
    ),
}
JPEG = (
    "CIFAR-10 is a lossy copy (JPEG) with {n} training images of a class where the owners have 5,000: its numbers are "
    "not those of the owners' images."
)
# Of "fused": each less the mean of held-out normals, over their deviation; summed.
FUSED = ("residual", "relative_residual", "kl", "latent_distance")
SCORES = (*FUSED, "attention", "fused")
JUDGED = "residual"  # the paper's score
LEFT_OUT = "LSA, OCGAN, ULSLM, CapsNet_PP, CapsNet_RE, ADGAN: networks of their own, not CAVGA's with another loss"


def markdown(
    results: Results,
    *,
    features: Mapping[str, Features],
    said: Mapping[str, Sequence[str]],
    fast: bool,
) -> str:
    """A table for each data set, then where the cells were measured.

    Args:
        results: finished cells.
        features: by data set, results of ImageNet features, where there are some.
        said: by data set, sentences about the data.
        fast: the cells are only a trial.
    """
    lines = [
        "# Table 7 of the paper: one class against the rest",
        "",
        f"Made by `python benchmarks/paper.py collect table7{' --fast' if fast else ''}` from the JSON files beside "
        "it. Image AUROC of CAVGA-D_u over the whole test set, the class in the first column normal. Score: the mean "
        f"of a map; `{JUDGED}`, |x - x^|, is the paper's (its sum), the others are of the same network: "
        "`relative_residual`, that over what a low-pass loses of the same image (ours; thought of, and put into "
        "`fused`, when numbers of this test set had been seen), `kl` of the posterior from N(0, 1), "
        "`latent_distance` to a Gaussian of the training normals' features, `attention` 1 - A, `fused` the sum of "
        f"{', '.join(FUSED)}, each standardised by held-out normals. 32 x 32 pixels, latent of 1 x 1 x 16, weights "
        "drawn at random (the paper's DCGAN is pretrained on CelebA), weight of L_adv 0.01 (paper: 1), bfloat16. "
        "PSNR: of held-out normals' reconstruction. ImageNet, beside the paper's method: the latent distance of "
        f"{IMAGENET}, nothing trained, on the same images. Mean ± standard deviation over seeds where there are "
        f"several. The paper's other systems are left out: {LEFT_OUT}; AnoGAN and gamma-VAE_g are rows of tables 3 "
        "and 4.",
    ]
    for name in DATA_SETS:
        cells = [each for each in results if each["data_set"] == name]
        if cells:
            lines += ["", *_half(name, cells, said=said.get(name, ()), features=features.get(name, {}))]
    names = [f"{each['data_set']} {each['class']} seed {each['seed']}" for each in results]
    lines += ["", *places(results, names)]
    return "\n".join([*lines, "", "Anomaly relative to the training normals."]) + "\n"


def _half(name: str, cells: Results, *, said: Sequence[str], features: Features) -> list[str]:
    """The table of one data set; a mean over classes stands only where all ten were measured with the same seeds."""
    data_set = DATA_SETS[name]
    lines = [f"## {data_set.title}, epochs: {cells[0]['overrides']['epochs']}", ""]
    copies = sorted({each["jpeg_training_images"] for each in cells} - {0})
    if copies:
        said = [JPEG.format(n=" or ".join(f"{n:,}" for n in copies)), *said]
    if said:
        lines += [" ".join(said), ""]
    lines += [
        f"| class | seeds | {' | '.join(SCORES)} | paper | {JUDGED} - paper | PSNR | ImageNet |",
        "|" + "---|" * (len(SCORES) + 6),
    ]
    by_class = _by_class(cells)
    for number, by_seed in by_class.items():
        aurocs = {key: [_auroc(each, key) for each in by_seed.values()] for key in SCORES}
        psnr = [each["validation_psnr"] for each in by_seed.values()]
        label = f"{number} {CLASSES['cifar10'][number]}" if name == "cifar10" else str(number)
        lines.append(
            _row(
                label,
                len(by_seed),
                aurocs,
                data_set.paper[number],
                f"{np.mean(psnr):.1f}",
                _of_features(features, number),
            )
        )
    if means := _means(name, by_class):
        lines.append(
            _row("mean", len(means[JUDGED]), means, data_set.paper_mean, "", _mean_of_features(name, features))
        )
    else:
        whole = len(by_class) == len(data_set.paper)
        why = "no seed has all classes" if whole else f"{len(by_class)} of {len(data_set.paper)} classes measured"
        lines += ["", f"{why}: no mean to set beside the paper's."]
    if features:
        where = sorted({(each["machine"]["date"], each["machine"]["commit"][:10]) for each in features.values()})
        lines += ["", f"ImageNet measured {', '.join(f'{date} at {commit}' for date, commit in where)}."]
    return lines


def bars(results: Results, *, features: Mapping[str, Features]) -> list[Bar]:
    """Rows of the picture: the paper's score by class, then the mean over classes of every score."""
    rows: list[Bar] = []
    for name, data_set in DATA_SETS.items():
        by_class = _by_class([each for each in results if each["data_set"] == name])
        for number, by_seed in by_class.items():
            values = [_auroc(each, JUDGED) for each in by_seed.values()]
            label = f"{data_set.title} {CLASSES[name][number]}, {JUDGED}"
            rows.append(seeds_bar(label, values, data_set.paper[number]))
        for key, means in _means(name, by_class).items():
            rows.append(seeds_bar(f"{data_set.title} mean, {key}", means, data_set.paper_mean))
        mean = _mean_of_features(name, features.get(name, {}))
        if by_class and mean is not None:
            rows.append(Bar(f"{data_set.title} mean, ImageNet", mean, 0.0, data_set.paper_mean))
    return rows


def _of_features(features: Features, number: int) -> float | None:
    return float(features[number]["image_auroc"]) if number in features else None


def _mean_of_features(name: str, features: Features) -> float | None:
    """Over all classes; None where one is missing."""
    known = [float(each["image_auroc"]) for each in features.values()]
    return float(np.mean(known)) if len(known) == len(DATA_SETS[name].paper) else None


def _by_class(cells: Results) -> dict[int, dict[int, Mapping[str, Any]]]:
    """Cells of one data set by class and seed."""
    return {
        number: {each["seed"]: each for each in cells if each["class"] == number}
        for number in sorted({each["class"] for each in cells})
    }


def _means(name: str, by_class: Mapping[int, Mapping[int, Mapping[str, Any]]]) -> dict[str, list[float]]:
    """By score, the mean over all ten classes for every seed that has them; empty where a class is missing."""
    seeds = sorted(set.intersection(*(set(by_seed) for by_seed in by_class.values()))) if by_class else []
    if len(by_class) != len(DATA_SETS[name].paper) or not seeds:
        return {}
    return {
        key: [float(np.mean([_auroc(by_seed[seed], key) for by_seed in by_class.values()])) for seed in seeds]
        for key in SCORES
    }


def _row(
    label: str, seeds: int, aurocs: Mapping[str, Sequence[float]], paper: float, psnr: str, features: float | None
) -> str:
    ours = " | ".join(spread(aurocs[key]) for key in SCORES)
    other = "–" if features is None else f"{features:.3f}"
    return f"| {label} | {seeds} | {ours} | {paper:.3f} | {np.mean(aurocs[JUDGED]) - paper:+.3f} | {psnr} | {other} |"


def _auroc(cell: Mapping[str, Any], key: str) -> float:
    return float(cell["report"]["maps"][key]["image_auroc"])
