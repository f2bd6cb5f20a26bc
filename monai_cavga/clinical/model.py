"""A bundle's model for the clinical commands: arrays in, the maps of `run inference` at the sources' size out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from monai_cavga.clinical.identity import Calibrated, percentile
from monai_cavga.clinical.records import Localisation, ModelIdentity, Source

__all__ = ["BACKENDS", "Model", "ModelError", "load_model", "localisation", "planes"]

BackendName = Literal["torch", "onnx"]
BACKENDS: tuple[BackendName, ...] = ("torch", "onnx")
Array = npt.NDArray[np.float32]


class ModelError(ValueError):
    """A bundle whose model cannot localise for the clinical commands."""


class Model(Protocol):
    """What `monai_cavga.clinical.localize` needs of a model."""

    identity: ModelIdentity
    fundus: bool
    """Whether it is for fundus photographs, so that the quality gate applies."""

    def localise(self, sources: Sequence[Source]) -> list[Localisation]:
        """One localisation for each source; on a CPU bitwise the same alone or in any company."""


def load_model(
    bundle: Path, *, model_file: Path | None = None, calibration_file: Path | None = None, backend: str = "torch"
) -> Model:
    """Load a bundle's model.

    Args:
        bundle: folder with ``configs/inference.json``.
        model_file: weights, in place of the bundle's own; for "onnx" an exported file, in place of
            ``models/model.onnx`` in the bundle.
        calibration_file: calibration, in place of the bundle's own; not for "onnx", whose file holds its own.
        backend: one of `BACKENDS`; "onnx" needs neither torch nor MONAI.

    Raises:
        FileNotFoundError: if the bundle, or a file of it, does not exist.
        ValueError: if the bundle or the exported file cannot be used, or for another backend.
        ModuleNotFoundError: if what the back end runs on is not installed, saying what to install.
    """
    from monai_cavga.bundle.directory import folder_problem

    if backend not in BACKENDS:
        raise ModelError(f"backend is {backend!r}, expected one of {', '.join(BACKENDS)}")
    if problem := folder_problem(bundle, "inference"):
        raise FileNotFoundError(problem)
    if backend == "onnx":
        from monai_cavga.clinical.onnx_model import OnnxModel

        if calibration_file is not None:
            raise ModelError("an exported file holds its calibration: give --calibration_file to export, not here")
        return OnnxModel(bundle, model_file)
    try:
        from monai_cavga.clinical.torch_model import TorchModel
    except ImportError as err:
        raise ModuleNotFoundError(
            f"back end torch needs {err.name}: pip install torch monai pytorch-ignite, "
            "or take an exported file with --backend onnx"
        ) from err

    overrides = {"model_file": model_file, "calibration_file": calibration_file}
    return TorchModel(bundle, {key: str(value) for key, value in overrides.items() if value is not None})


def planes(pixels: Array, channels: int) -> Array:
    """``(H, W, 3)`` to ``(C, H, W)``: colour as it is, one channel as `monai_cavga.data.read_image` gives it."""
    from PIL import Image

    if channels == 1 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    elif channels == 1:
        grey = Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).convert("L")  # luminance of 8 bits
        pixels = (np.asarray(grey, np.float32) / np.float32(255))[..., None]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def localisation(
    source: Source,
    *,
    by: Calibrated,
    name: str,
    values: Array,
    fov: npt.NDArray[Any] | None,
    score: float,
    ranked: float,
) -> Localisation:
    """A network's map as a localisation.

    Args:
        source: what was localised.
        by: what localised it.
        name: of the map.
        values: the map, expected at the source's size and in [0, 1].
        fov: of the same size, above 0 inside; None where the whole image is.
        score: of the map at the source's size.
        ranked: its score at the size that the normals were scored at.

    Raises:
        ModelError: if the map has another size or range.
    """
    size = source.pixels.shape[:2]
    if values.shape != size or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ModelError(
            f"map {name!r} is {values.shape} with values from {values.min():g} to {values.max():g}, expected "
            f"{size} and [0, 1]: name a calibrated map, such as 'fused', first in the bundle's maps"
        )
    inside = np.ones(size, bool) if fov is None else fov > 0
    return Localisation(
        source=source,
        model=by.identity,
        map=np.where(inside, values, np.float32(0)),
        fov=inside,
        score=score,
        percentile=percentile(ranked, by.normal_scores if name == "fused" else ()),  # they are scores of that map
    )
