"""ImageReportHandler: how well image scores tell anomalous images, where nothing is labelled pixel by pixel."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from monai_cavga.handlers.files import NOTICE, write_atomic
from monai_cavga.metrics import UndefinedMetricError, bootstrap_interval, image_auroc, paper_accuracy
from monai_cavga.metrics.accumulation import gather_rows, gather_texts

if TYPE_CHECKING:
    from ignite.engine import Engine

__all__ = ["ImageReportHandler"]


class ImageReportHandler:
    """Write ``report.json``, ``report.md`` and ``scores.csv`` of whole batches of maps; image level only.

    The score of an image is the mean of its map: for ``residual`` the sum of ``|x - x^|`` of Schlegl et al. 2017, to
    which Sec. 3.1 of the paper refers, over the image's number of values. Batches are not taken apart (give the
    evaluator ``decollate=False``), so that ten thousand small images take seconds.

    Args:
        output_dir: the folder of the files; made where missing, files of the same names are replaced.
        maps: names of the channels of the inferer's output, in its order; higher = more anomalous.
        n_resamples: of the 95 % bootstrap interval over images.
        seed: of the bootstrap.

    Raises:
        ValueError: if ``maps`` is empty or names a map twice, or ``n_resamples`` is below 1.
    """

    def __init__(
        self, output_dir: str | Path, maps: Sequence[str] = ("residual",), *, n_resamples: int = 1000, seed: int = 0
    ) -> None:
        if isinstance(maps, str) or not maps or len(set(maps)) != len(maps):
            raise ValueError(f"maps is {maps!r}, expected a list of different names, e.g. ['residual', 'kl']")
        if n_resamples < 1:
            raise ValueError(f"n_resamples is {n_resamples}, expected at least 1, e.g. 1000")
        self.output_dir, self.maps = Path(output_dir), list(maps)
        self.n_resamples, self.seed = n_resamples, seed
        self.reset()

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator; called by MONAI for every handler of a bundle."""
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add_batch)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def reset(self, engine: Engine | None = None) -> None:
        """Forget the images of an earlier run."""
        self._names: list[str] = []
        self._rows: list[Tensor] = []  # (B, 1 + maps): label, scores

    def add_batch(self, engine: Engine) -> None:
        """Score the images of ``engine.state.output``.

        Raises:
            ValueError: if the output is no batch of as many maps, or a score is not finite.
        """
        output, batch = engine.state.output, engine.state.batch
        maps = output.get("pred") if isinstance(output, Mapping) else None
        if maps is None or maps.ndim != 4 or maps.shape[1] != len(self.maps):
            got = type(output).__name__ if maps is None else f"maps of shape {tuple(maps.shape)}"
            raise ValueError(
                f"the evaluator's output is {got}, expected pred (B, {len(self.maps)}, H, W) of {self.maps}: "
                "give it decollate=False and its inferer the same maps"
            )
        scores = maps.detach().as_subclass(Tensor).double().mean(dim=(2, 3)).cpu()
        if not bool(torch.isfinite(scores).all()):
            raise ValueError("a map is NaN or infinite, expected finite values: see how it was made")
        label = torch.as_tensor(batch["label"]).as_subclass(Tensor).double().cpu().reshape(-1, 1)
        self._rows.append(torch.cat([label, scores], dim=1))
        self._names += [str(name) for name in batch["name"]]

    def write(self, engine: Engine | None = None) -> dict[str, Any]:
        """Write the files and return what ``report.json`` holds."""
        width = 1 + len(self.maps)
        table = gather_rows(torch.cat([torch.zeros(0, width, dtype=torch.float64), *self._rows])).numpy()
        names = gather_texts(self._names)
        labels = table[:, 0]
        report = {
            "notice": NOTICE,
            "n_images": {"normal": int((labels == 0).sum()), "anomalous": int((labels == 1).sum())},
            "settings": {
                "score": "mean of the map",
                "interval_level": 0.95,
                "interval_over": "images",
                "n_resamples": self.n_resamples,
                "seed": self.seed,
            },
            "maps": {name: self._summary(table[:, k], labels) for k, name in enumerate(self.maps, start=1)},
        }
        if not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0:
            text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
            write_atomic(self.output_dir / "report.json", f"{text}\n".encode())
            write_atomic(self.output_dir / "report.md", _markdown(report).encode())
            write_atomic(self.output_dir / "scores.csv", self._csv(names, table).encode())
        return report

    def _summary(self, scores: NDArray[np.float64], labels: NDArray[np.float64]) -> dict[str, Any]:
        """Metrics of one map, None with a reason where there is one class only."""
        row: dict[str, Any] = {"image_auroc": None, "image_auroc_interval": None, "accuracy_paper": None, "reasons": {}}
        try:
            row["image_auroc"] = image_auroc(scores, labels)
            row["accuracy_paper"] = paper_accuracy(scores, labels)
            low, high = bootstrap_interval(image_auroc, [scores, labels], n_resamples=self.n_resamples, seed=self.seed)[
                :2
            ]
            row["image_auroc_interval"] = [low, high]
        except UndefinedMetricError as error:
            row["reasons"]["image_auroc"] = str(error)
        return row

    def _csv(self, names: Sequence[str], table: NDArray[np.float64]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["name", "label", *self.maps])
        for name, row in zip(names, table, strict=True):
            writer.writerow([name, int(row[0]), *(repr(float(score)) for score in row[1:])])
        return text.getvalue()


def _markdown(report: Mapping[str, Any]) -> str:
    """A table with one row per map."""
    lines = [f"{report['notice']}\n", "| map | image AUROC | accuracy paper |", "|---|---|---|"]
    for name, row in report["maps"].items():
        auroc, accuracy = ("–" if row[key] is None else f"{row[key]:.3f}" for key in ("image_auroc", "accuracy_paper"))
        if row["image_auroc_interval"]:
            auroc += " [{:.3f}, {:.3f}]".format(*row["image_auroc_interval"])
        lines.append(f"| {name} | {auroc} | {accuracy} |")
    settings, n_images = report["settings"], report["n_images"]
    lines.append(
        f"\nImages: {n_images['normal']} normal, {n_images['anomalous']} anomalous. Image score: mean of the map. "
        f"Brackets: 95 % bootstrap interval over images ({settings['n_resamples']} resamples, seed "
        f"{settings['seed']}). `paper`: scores brought to [0, 1] over this very data, threshold 0.5."
    )
    for name, row in report["maps"].items():
        lines += [f"- {name}, no {metric}: {reason}" for metric, reason in row["reasons"].items()]
    return "\n".join(lines) + "\n"
