"""Who makes a map: a bundle's name and version, hashes of its files, and the normals behind its scale."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_cavga.clinical.records import ModelIdentity
from monai_cavga.handlers.files import calibration_sha256, file_sha256, scores_of_normals
from monai_cavga.metrics.score import ScoreRule

__all__ = ["Calibrated", "identify", "percentile"]


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """A model's identity and the scores that an image's is ranked in.

    Attributes:
        identity: what goes into every object.
        normal_scores: image scores of held-out normals at the network's size; empty where none are known.
    """

    identity: ModelIdentity
    normal_scores: tuple[float, ...]


def identify(bundle: Path, *, model_file: Path, calibration_file: Path | None, score_rule: ScoreRule) -> Calibrated:
    """Read a bundle's metadata and what stands beside its calibration.

    Args:
        bundle: folder with ``configs/metadata.json`` and ``configs/inference.json``.
        model_file: the weights.
        calibration_file: its description is the ``.json`` of the same name; None for a model without.
        score_rule: of the images' scores; scores of normals that were taken by another are not known.

    Raises:
        FileNotFoundError: if the weights or the metadata do not exist.
        ValueError: if a JSON file is damaged.
    """
    if not model_file.is_file():
        raise FileNotFoundError(f"model {model_file} does not exist: train it, or give --model_file")
    metadata_file = bundle / "configs" / "metadata.json"
    if not metadata_file.is_file():
        raise FileNotFoundError(f"{metadata_file} does not exist: every bundle has its name and version there")
    metadata = _json(metadata_file)
    described = calibration_file.with_suffix(".json") if calibration_file is not None else None
    calibration = _json(described) if described is not None and described.is_file() else {}
    scores = scores_of_normals(calibration, score_rule=score_rule) or ()
    return Calibrated(
        identity=ModelIdentity(
            name=str(metadata.get("name", bundle.resolve().name)),
            version=str(metadata.get("version", "")),
            model_sha256=file_sha256(model_file),
            calibration_sha256=calibration_sha256(calibration_file)
            if calibration_file and calibration_file.is_file()
            else "",
            config_sha256=file_sha256(bundle / "configs" / "inference.json"),
            false_positive_rate=float(calibration.get("false_positive_rate", math.nan)),
            normals=int(calibration.get("n_normal", 0)),
        ),
        normal_scores=tuple(float(each) for each in scores),
    )


def percentile(score: float, normal_scores: Sequence[float]) -> float:
    """Share of normals with a lower score, in [0, 100]; NaN without normals.

    >>> percentile(0.5, [0.1, 0.4, 0.5, 0.9])
    50.0
    """
    if not normal_scores:
        return math.nan
    return 100 * sum(each < score for each in normal_scores) / len(normal_scores)


def _json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise ValueError(f"{path} is not valid JSON: copy the bundle again") from err
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}, expected an object: copy the bundle again")
    return content
