"""What passes between reading, localising and writing: a source image, its map, and who made the map."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom import Dataset

Laterality = Literal["R", "L", ""]

__all__ = ["Laterality", "Localisation", "ModelIdentity", "Source"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One image as it was read, and what is needed to write objects that belong to it.

    Attributes:
        path: the file, for messages; no output path is built from anything inside the file.
        pixels: ``(H, W, 3)`` float32 in [0, 1], rows as displayed.
        sha256: of the file's bytes.
        header: of a DICOM file, without its pixels; None for other formats.
        laterality: of the eye, "" where it is not stated.
        affine: ``(4, 4)`` of a NIfTI slice; None for other formats.
    """

    path: Path
    pixels: npt.NDArray[np.float32]
    sha256: str
    header: Dataset | None = None
    laterality: Laterality = ""
    affine: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Which model, calibrated how, made a map; all of it goes into the objects that are written.

    What is derived from a model is derived from this alone: UIDs, whether an earlier run's result is kept, what a PACS
    run calls done.

    Attributes:
        name: of the bundle.
        version: of the bundle (its metadata).
        model_sha256: of the weights' file.
        calibration_sha256: of the calibration's tensors and description.
        config_sha256: of the bundle's inference config, which holds preprocessing, map and score rule; on ONNX Runtime
            of the exported file, which holds them too. So a bundle on torch and its export share no UID, on purpose:
            their maps are equal to 1e-4 only, and two contents under one UID are none that an archive could keep.
        false_positive_rate: share of held-out normals' pixels above the threshold.
        normals: number of held-out normal images behind threshold and percentile.
    """

    name: str
    version: str
    model_sha256: str
    calibration_sha256: str
    config_sha256: str
    false_positive_rate: float
    normals: int

    @property
    def parts(self) -> tuple[str, ...]:
        """All of it as text, for what is derived from it."""
        return tuple(str(value) for value in asdict(self).values())


@dataclass(frozen=True, kw_only=True)
class Localisation:
    """One source's map at the source's size and what is measured on it.

    Attributes:
        source: what was localised.
        model: what localised it.
        map: ``(H, W)`` float32 in [0, 1], higher = more anomalous, a fixed scale; 0 outside ``fov``.
        fov: ``(H, W)`` bool, the field of view.
        score: the image's, one number from the map inside the field of view, in [0, 1].
        percentile: share of held-out normals with a lower score, in [0, 100].
        threshold: of the map, at the model's ``false_positive_rate``.
    """

    source: Source
    model: ModelIdentity
    map: npt.NDArray[np.float32]
    fov: npt.NDArray[np.bool_]
    score: float
    percentile: float
    threshold: float = 0.5

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """``(H, W)``: above the threshold, inside the field of view."""
        above: npt.NDArray[np.bool_] = (self.map > self.threshold) & self.fov
        return above

    @property
    def area(self) -> float:
        """Share of the field of view above the threshold, in [0, 1]."""
        return float(self.mask.sum() / max(int(self.fov.sum()), 1))
