"""One evaluation for every method of tables 3, 4, 5 and 6: a detector's maps and scores on a bundle's own data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.data.utils import decollate_batch
from monai.utils import convert_to_dst_type
from numpy.typing import NDArray
from reporting import HERE
from torch import Tensor
from tqdm import tqdm

from monai_cavga.bundle import BundleDirectoryWorkflow
from monai_cavga.metrics import PixelHistogram, balanced_accuracy, image_auroc, paper_accuracy
from monai_cavga.metrics.evaluation import Evaluation, accumulate
from monai_cavga.metrics.summary import summarise
from monai_cavga.transforms.maps import source_maps

PIXEL_QUANTILE = 0.995  # of the held-out normals' pixels: a threshold of a map whose scale is its own
IMAGE_QUANTILE = 0.95  # of the held-out normals' scores
MAP = "anomaly"


class Found(NamedTuple):
    """What a detector says of a batch; higher = more anomalous in both."""

    maps: Tensor  # (B, 1, H, W), >= 0
    scores: Tensor  # (B,), of the whole image


Detector = Callable[[Tensor], Found]  # images (B, C, H, W) in [0, 1]


class Parts:
    """Data, transforms and networks of a bundle with a cell's overrides, each made when it is asked for.

    Args:
        bundle: name of its folder.
        data: the data set's folder.
        overrides: config ids and their values.
    """

    def __init__(self, bundle: str, *, data: Path, overrides: Mapping[str, Any]) -> None:
        self.workflow = BundleDirectoryWorkflow(
            HERE.parent / "bundles" / bundle,
            run_id="evaluating",
            logging_file=False,
            dataset_dir=str(data),
            **overrides,
        )
        self.workflow.initialize()  # seeds every generator

    def get(self, name: str) -> Any:
        """The object of a config id."""
        return self.workflow.parser.get_parsed_content(name)

    def training_batches(self, epochs: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels on the device, the batches that the bundle's own training sees, in its order."""
        loader, device = self.get("train#dataloader"), self.get("device")
        for epoch in range(epochs):
            loader.sampler.set_position(epoch)
            for batch in tqdm(loader, desc=f"training, epoch {epoch + 1} of {epochs}", unit="batch"):
                yield batch["image"].as_tensor().to(device), torch.as_tensor(batch["label"]).to(device)


def measure(detector: Detector, parts: Parts, *, probability: bool, pixels: bool = True) -> dict[str, Any]:
    """All numbers of a detector on the test set; what is learnt from data is learnt from held-out normals.

    Args:
        detector: called without gradients, on its device's images.
        parts: of the cell.
        probability: the score is a classifier's probability, so that the paper's decision is at 0.5; or else the
            paper brings scores to [0, 1] over the test set and decides at 0.5.
        pixels: whether the test images have pixel labels.

    Returns:
        ``n_images``, ``detection``, and with ``pixels`` ``localisation``: plain numbers, None where undefined.
    """
    normals = [found for _, found in _detect(detector, parts.get("validate#dataloader"), "held-out normals")]
    threshold = float(np.quantile(_scores(normals), IMAGE_QUANTILE))
    tests, labels = [], []
    localisation = Localisation(parts, [found.maps for found in normals]) if pixels else None
    for batch, found in _detect(detector, parts.get("dataloader"), "test"):
        tests.append(found)
        labels += [int(label) for label in batch["label"]]
        if localisation is not None:
            localisation.add(batch, found.maps)
    result: dict[str, Any] = {
        "n_images": {"normal": labels.count(0), "anomalous": labels.count(1), "held out": len(_scores(normals))},
        "detection": detection(_scores(tests), labels, threshold=threshold, probability=probability),
    }
    if localisation is not None:
        result["localisation"] = localisation.numbers()
    return result


def detection(
    scores: Sequence[float] | NDArray[np.float64], labels: Sequence[int], *, threshold: float, probability: bool
) -> dict[str, float]:
    """How well scores tell anomalous from normal images.

    Args:
        scores: one an image; higher = more anomalous.
        labels: 1 anomalous, 0 normal.
        threshold: from held-out normals.
        probability: see `measure`.
    """
    paper = balanced_accuracy(scores, labels, threshold=0.5) if probability else paper_accuracy(scores, labels)
    return {
        "accuracy_paper": paper,
        "accuracy_held_out": balanced_accuracy(scores, labels, threshold=threshold),
        "image_auroc": image_auroc(scores, labels),
        "threshold_held_out": threshold,
    }


class Localisation:
    """The test maps, at the source's size, against the pixel labels.

    Args:
        parts: of the cell.
        normals: maps of held-out normals ``(B, 1, H, W)``, which give the second threshold.
    """

    def __init__(self, parts: Parts, normals: Sequence[Tensor]) -> None:
        self.threshold = float(np.quantile(torch.cat(list(normals)).numpy(), PIXEL_QUANTILE))
        self.held_out = PixelHistogram(threshold=self.threshold)
        self.evaluation = Evaluation([MAP])
        self.back = source_maps(parts.get("validate#preprocessing"), [MAP])

    def add(self, batch: Mapping[str, Any], maps: Tensor) -> None:
        """Count a batch."""
        traced = convert_to_dst_type(maps, batch["image"])[0]  # with what Invertd needs to know
        for item in decollate_batch({**batch, "pred": traced}):
            ready = self.back(item)
            accumulate(self.evaluation, ready, name=str(item["name"]))
            self.held_out.update(ready[MAP], ready["mask"])

    def numbers(self) -> dict[str, Any]:
        """Every pixel metric, by the names of a bundle's report."""
        row: dict[str, Any] = summarise(self.evaluation)["maps"][MAP]
        return {
            **row,
            "threshold_held_out": self.threshold,
            "iou_held_out_images": self.held_out.iou_images(),
            "iou_held_out_pooled": self.held_out.iou_pooled(),
        }


def _detect(
    detector: Detector, batches: Iterable[dict[str, Any]], words: str
) -> Iterator[tuple[dict[str, Any], Found]]:
    for batch in tqdm(batches, desc=words, unit="batch"):
        with torch.no_grad():
            found = detector(batch["image"].as_tensor())
        yield batch, Found(found.maps.cpu(), found.scores.cpu())


def _scores(found: Sequence[Found]) -> NDArray[np.float64]:
    return torch.cat([each.scores for each in found]).double().numpy()
