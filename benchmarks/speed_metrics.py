"""Figures of the streaming metrics: pixels a second, peak memory, error, against torchmetrics."""

from __future__ import annotations

import importlib.util
import time

import torch
from sklearn.metrics import roc_auc_score
from speed_timing import Options, Row, interleaved, peak_growth_mib
from torch import Tensor

from monai_cavga.metrics import PixelHistogram

SIDE = 256
_KEPT = 16  # different images; more would only fill memory that is not the metric's
_THRESHOLDS = 1000  # of torchmetrics' bins: its error then is of the order of ours


def streaming_memory(options: Options) -> list[Row]:
    """(g) Pixels a second and peak memory over ever more images; constant if the last ratio is 1."""
    images = made_maps()
    rows: list[Row] = []
    PixelHistogram().update(*images[0])  # what the first call loads is not the metric's memory
    for count in options.images:
        histogram = PixelHistogram()

        def run(found: PixelHistogram = histogram, n: int = count) -> None:
            for number in range(n):
                found.update(*images[number % _KEPT])
            found.auroc()

        start = time.perf_counter()
        growth = peak_growth_mib(run)
        seconds = time.perf_counter() - start
        held = sum(each.numel() * each.element_size() for each in histogram.tensors()) / 2**20
        numbers = {
            "seconds": seconds,
            "pixels/s": count * SIDE**2 / seconds,
            "held, MiB": held,
            "peak growth, MiB": growth,
        }
        remark = "" if growth is not None else "this system does not tell peak memory"
        rows.append(Row(f"{count:,} images of {SIDE} x {SIDE}", numbers, remark=remark))
    return rows


def against_torchmetrics(options: Options) -> list[Row]:
    """(g) The binned AUROC against torchmetrics' and against the exact one: error and time for each image."""
    images = made_maps()
    scores, labels = (torch.cat([each[k].flatten() for each in images]).numpy() for k in (0, 1))
    exact = float(roc_auc_score(labels, scores))
    case = f"{_KEPT} images of {SIDE} x {SIDE}"
    ours = PixelHistogram()
    for each in images:
        ours.update(*each)
    numbers: dict[str, float | None] = {"error": abs(ours.auroc() - exact), "stated bound": ours.auroc_error()}
    rows = [Row(f"error, {case}", numbers, numbers["error"], "<= 0.0001")]
    if importlib.util.find_spec("torchmetrics") is None:
        return [*rows, Row(f"torchmetrics, {case}", {}, remark="not measured: torchmetrics is not installed")]

    from torchmetrics.classification import BinaryAUROC

    theirs = BinaryAUROC(thresholds=_THRESHOLDS, validate_args=False)
    for each in images:
        theirs.update(each[0].flatten(), each[1].flatten().int())
    numbers = {"error": abs(float(theirs.compute()) - exact)}
    rows.append(Row(f"torchmetrics' error, {_THRESHOLDS} thresholds, {case}", numbers))
    anomaly_map, mask = images[0]
    timing = interleaved(
        {
            "torchmetrics": lambda: theirs.update(anomaly_map.flatten(), mask.flatten().int()),
            "streaming": lambda: ours.update(anomaly_map, mask),
        },
        options.rounds,
    )
    rows.append(Row("update, one image", timing.medians(), timing.ratio("torchmetrics", "streaming"), ">= 1"))
    return rows


def made_maps() -> list[tuple[Tensor, Tensor]]:
    """Maps in (0, 1) with masks: a score is higher where the mask is 1, and two in a hundred pixels are."""
    start = torch.Generator().manual_seed(0)
    found = []
    for _ in range(_KEPT):
        mask = (torch.rand(1, SIDE, SIDE, generator=start) < 0.02).to(torch.int8)
        found.append((torch.sigmoid(torch.randn(1, SIDE, SIDE, generator=start) + 1.5 * mask), mask))
    return found
