"""A bundle's exported model on ONNX Runtime: no torch, no MONAI. What torch's back end gives, to rounding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_cavga.clinical.identity import Calibrated
from monai_cavga.clinical.model import ModelError, localisation, planes
from monai_cavga.clinical.records import Localisation, ModelIdentity, Source
from monai_cavga.export import OnnxBackend
from monai_cavga.fundus import field_of_view
from monai_cavga.handlers.files import calibration_sha256, file_sha256
from monai_cavga.metrics.score import map_score

__all__ = ["OnnxModel", "nearest"]

MODEL = "model.onnx"


class OnnxModel:
    """An exported file, which says itself what it is, how its scores are taken and which normals it was calibrated on.

    Args:
        bundle: folder whose ``models/model.onnx`` is taken.
        model_file: another exported file.

    Raises:
        OnnxBackendError: if the file is missing or no export.
        ModelError: if its first map is not calibrated, or the bundle's own weights or calibration are others by now.
        ModuleNotFoundError: without onnxruntime, saying what to install.
    """

    def __init__(self, bundle: Path, model_file: Path | None = None) -> None:
        file = model_file or bundle / "models" / MODEL
        self._backend = OnnxBackend(file)
        told = self._backend.metadata
        try:
            self._by = _calibrated(told, config_sha256=self._backend.sha256)
            self.fundus = bool(told["field_of_view"])
            self._rule = told["score_rule"]
            self._name = self._backend.names[0]
            scale = list(told["scales"][self._name])
            kept = {part: (told[f"{part}_file"], told[f"{part}_sha256"]) for part in ("model", "calibration")}
        except (KeyError, IndexError) as err:
            raise ModelError(f"model {file} says nothing of {err}: export it again") from err
        if scale != [0, 1]:
            raise ModelError(
                f"map {self._name!r} of {file} is from {scale[0]:g} to {scale[1]:g}, expected [0, 1]: export it with a "
                "calibrated map, such as 'fused', first in --maps"
            )
        if model_file is None:
            _check_current(bundle, kept)
        self.identity = self._by.identity

    def localise(self, sources: Sequence[Source]) -> list[Localisation]:
        """See `monai_cavga.clinical.model.Model`; one at a time, since each has a size of its own."""
        return [self._localised(source) for source in sources]

    def _localised(self, source: Source) -> Localisation:
        found = self._backend.run(planes(source.pixels, self._backend.channels)[None])
        values, seen = found.maps[0, 0], found.network_maps[0, 0]
        small = field_of_view(found.network_image[0]) if self.fundus else None
        fov = None if small is None else nearest(small, values.shape)
        return localisation(
            source,
            by=self._by,
            name=self._name,
            values=values,
            fov=fov,
            score=map_score(values, fov=fov, rule=self._rule),
            ranked=map_score(seen, fov=small, rule=self._rule),
        )


def nearest(mask: npt.NDArray[np.bool_], size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """A mask at another size by the pixel at or before each place: torch's "nearest".

    Args:
        mask: ``(h, w)``.
        size: ``(H, W)``.

    Returns:
        ``(H, W)``.
    """
    rows, columns = (
        np.minimum((np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new))).astype(int), old - 1)
        for old, new in zip(mask.shape, size, strict=True)
    )
    taken: npt.NDArray[np.bool_] = mask[np.ix_(rows, columns)]
    return taken


def _calibrated(told: Mapping[str, Any], *, config_sha256: str) -> Calibrated:
    rate = told["false_positive_rate"]
    return Calibrated(
        identity=ModelIdentity(
            name=str(told["bundle"]),
            version=str(told["bundle_version"]),
            model_sha256=str(told["model_sha256"]),
            calibration_sha256=told["calibration_sha256"] or "",
            config_sha256=config_sha256,
            false_positive_rate=math.nan if rate is None else float(rate),
            normals=int(told["n_normal"] or 0),
        ),
        normal_scores=tuple(float(each) for each in told["image_scores_of_normals"] or ()),
    )


def _check_current(bundle: Path, kept: Mapping[str, tuple[str | None, str | None]]) -> None:
    """Training anew leaves the earlier export in its place; a bundle without its weights is as it was exported."""
    for part, (name, sha256) in kept.items():
        file = bundle / "models" / name if name else None
        if file and file.is_file() and (calibration_sha256 if part == "calibration" else file_sha256)(file) != sha256:
            raise ModelError(
                f"{MODEL} was exported from another {name} than {bundle / 'models'} holds: export it again, or give "
                "--model_file to take it as it is"
            )
