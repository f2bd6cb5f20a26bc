"""Maps from an exported ONNX file, on ONNX Runtime: numpy in and out, no torch, no MONAI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["OnnxBackend", "OnnxBackendError"]


class OnnxBackendError(ValueError):
    """A file that is no export of ours, or a picture that it cannot take."""


class OnnxBackend:
    """An exported model in one session.

    What the file says about itself (`monai_cavga.export.bundle.describe`) is in ``metadata``.

    Args:
        path: made by ``python -m monai_cavga export --format onnx``.
        threads: of one operation; 0 leaves the choice to ONNX Runtime.

    Raises:
        OnnxBackendError: if the file is missing, unreadable, or no export of ours.
        ModuleNotFoundError: without onnxruntime, saying what to install.
    """

    def __init__(self, path: str | Path, *, threads: int = 0) -> None:
        file = Path(path)
        if not file.is_file():
            raise OnnxBackendError(f"model {file} does not exist: make it with `python -m monai_cavga export`")
        self._session = open_session(file.read_bytes(), name=str(file), threads=threads)
        stored = self._session.get_modelmeta().custom_metadata_map
        if "monai_cavga" not in stored:
            raise OnnxBackendError(
                f"model {file} has no description of its maps: make it with `python -m monai_cavga export`"
            )
        self.metadata: dict[str, Any] = json.loads(stored["monai_cavga"])
        self.names: list[str] = list(self.metadata["maps"])
        self.channels: int = int(self.metadata["channels"])

    def maps(self, batch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Pictures of one size to their maps, at that size.

        Args:
            batch: ``(B, C, H, W)``, float32 in [0, 1], rows as displayed; any B, H and W from 1.

        Returns:
            ``(B, K, H, W)``, float32 in [0, 1], in the order of ``names``; higher = more anomalous.

        Raises:
            OnnxBackendError: for another shape or type, or values outside [0, 1].
        """
        if batch.ndim != 4 or batch.shape[1] != self.channels or batch.size == 0 or batch.dtype != np.float32:
            raise OnnxBackendError(
                f"batch is {batch.dtype} {batch.shape}, expected float32 (B, {self.channels}, H, W): convert it"
            )
        low, high = float(batch.min()), float(batch.max())
        if not (low >= 0 and high <= 1):
            raise OnnxBackendError(f"batch has values from {low:g} to {high:g}, expected [0, 1]: divide by full scale")
        (found,) = self._session.run(None, {"image": np.ascontiguousarray(batch)})
        result: npt.NDArray[np.float32] = found
        return result


def open_session(content: bytes, *, name: str, threads: int = 0) -> Any:
    """A CPU session of ONNX Runtime from a file's bytes.

    Raises:
        OnnxBackendError: if ONNX Runtime does not take the file.
        ModuleNotFoundError: without onnxruntime, saying what to install.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("ONNX files need onnxruntime: pip install 'monai_cavga[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors are raised, warnings of the optimiser are not for a user
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which it does not promise to keep
        raise OnnxBackendError(f"model {name} cannot be opened ({type(error).__name__}): export it again") from error
