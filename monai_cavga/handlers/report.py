"""The handler that writes the numbers of an evaluation to files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.distributed as dist
from ignite.engine import Engine, Events

from monai_cavga.handlers.files import NOTICE, write_atomic
from monai_cavga.handlers.outputs import outputs_of
from monai_cavga.handlers.report_text import scores_to_csv, to_markdown
from monai_cavga.metrics.evaluation import Evaluation, accumulate
from monai_cavga.metrics.score import ScoreRule
from monai_cavga.metrics.summary import summarise

__all__ = ["ReportHandler"]


class ReportHandler:
    """Write ``report.json``, ``report.md`` and ``scores.csv`` at the end of every run of an evaluator.

    Counts each map pixel by pixel as the images pass: 10 MiB per map, and up to 48 KiB per image and map for the
    bootstrap. That draws images, or patients where items have a ``patient``. With a
    process group the report is of all processes, written by the first; give the sampler ``even_divisible=False``, or
    images that it repeats are counted twice. What has no value (no anomalies, no masks) is ``null`` with its reason.

    Args:
        output_dir: the folder of the files; made where missing, files of the same names are replaced.
        maps: keys of the anomaly maps in the evaluator's output; those that are absent are named in the report.
        score_rule: of the image score inside ``fov``, see `monai_cavga.metrics.image_score`: 0.995 sees a lesion of
            half a percent of the field of view.
        threshold: of the fixed-threshold IoU; 0.5 as in Sec. 3.1, arXiv:1911.08616.
        image_thresholds: by map, an image-score threshold from held-out normals; adds ``accuracy_calibrated``.
        area_thresholds: by map, of the false-positive area of normal images, best from held-out normals; ``threshold``
            for the maps it lacks.
        n_resamples: of the bootstrap intervals.
        seed: of the bootstrap.
        bits: bins of the pixel scores are ``2**bits``; in [10, 24].

    Raises:
        ValueError: if ``maps`` is empty or names a map twice, ``image_thresholds`` or ``area_thresholds``
            names another map, ``score_rule`` is none, a pixel threshold is not finite, ``n_resamples`` is
            below 1 or ``bits`` outside [10, 24].
    """

    def __init__(
        self,
        output_dir: str | Path,
        maps: Sequence[str] = ("attention", "residual"),
        *,
        score_rule: ScoreRule = 0.995,
        threshold: float = 0.5,
        image_thresholds: Mapping[str, float] | None = None,
        area_thresholds: Mapping[str, float] | None = None,
        n_resamples: int = 1000,
        seed: int = 0,
        bits: int = 18,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.image_thresholds = dict(image_thresholds or {})
        if n_resamples < 1:
            raise ValueError(f"n_resamples is {n_resamples}, expected at least 1, e.g. 1000")
        self.n_resamples = n_resamples
        self.seed = seed
        self.evaluation = Evaluation(
            maps, score_rule=score_rule, threshold=threshold, area_thresholds=area_thresholds, bits=bits
        )
        unknown = sorted(set(self.image_thresholds) - set(self.evaluation.maps))
        if unknown:
            raise ValueError(f"image_thresholds names {unknown}, expected only maps of {list(self.evaluation.maps)}")

    def attach(self, engine: Engine) -> None:
        """Listen to an evaluator; called by MONAI for every handler of a bundle."""
        engine.add_event_handler(Events.STARTED, self.reset)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add_batch)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def reset(self, engine: Engine | None = None) -> None:
        """Forget the images of an earlier run."""
        self.evaluation = self.evaluation.emptied()

    def add_batch(self, engine: Engine) -> None:
        """Count the images of ``engine.state.output``.

        Raises:
            TypeError: if the output is not a list of dicts.
            ValueError: if an image is refused; see :func:`monai_cavga.metrics.evaluation.accumulate`.
        """
        for name, _, item in outputs_of(engine):
            accumulate(self.evaluation, item, name=name)

    def write(self, engine: Engine | None = None) -> dict[str, Any]:
        """Write the files and return what ``report.json`` holds.

        Raises:
            ValueError: if no image had any of the maps.
        """
        total = self.evaluation.synced()
        report = {
            "notice": NOTICE,
            **summarise(total, image_thresholds=self.image_thresholds, n_resamples=self.n_resamples, seed=self.seed),
        }
        if not report["maps"]:
            raise ValueError(
                f"ReportHandler found none of the maps {list(total.maps)} in {len(total.names)} images: "
                "name keys of the evaluator's output in `maps`"
            )
        if not (dist.is_available() and dist.is_initialized()) or dist.get_rank() == 0:
            text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
            write_atomic(self.output_dir / "report.json", f"{text}\n".encode())
            write_atomic(self.output_dir / "report.md", to_markdown(report).encode())
            write_atomic(self.output_dir / "scores.csv", scores_to_csv(total).encode())
        return report
