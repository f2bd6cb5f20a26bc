"""Maps from an exported ONNX file, on ONNX Runtime: numpy in and out, no torch, no MONAI."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monai_cavga import __version__

__all__ = ["OUTPUTS", "OnnxBackend", "OnnxBackendError", "OnnxMaps"]

Array = npt.NDArray[np.float32]


class OnnxBackendError(ValueError):
    """A file that is no export of ours, or a picture that it cannot take."""


class OnnxMaps(NamedTuple):
    """Maps of pictures, float32 in [0, 1], higher = more anomalous; K maps in the order of the file's description.

    Attributes:
        maps: ``(B, K, H, W)``, at the pictures' size.
        network_image: ``(B, C, h, w)``, what the network saw.
        network_maps: ``(B, K, h, w)``, at its size.
    """

    maps: Array
    network_image: Array
    network_maps: Array


OUTPUTS = OnnxMaps._fields


class OnnxBackend:
    """An exported model in one session.

    What the file says about itself (`monai_cavga.export.bundle.deploy`) is in ``metadata``.

    Args:
        path: made by ``python -m monai_cavga export --format onnx``.
        threads: of one operation; 0 leaves the choice to ONNX Runtime.

    Raises:
        OnnxBackendError: if the file is missing, unreadable, or no export of this release's form.
        ModuleNotFoundError: without onnxruntime, saying what to install.
    """

    def __init__(self, path: str | Path, *, threads: int = 0) -> None:
        file = Path(path)
        if not file.is_file():
            raise OnnxBackendError(f"model {file} does not exist: make it with `python -m monai_cavga export`")
        content = file.read_bytes()
        self._session = open_session(content, name=str(file), threads=threads)
        self.sha256 = hashlib.sha256(content).hexdigest()
        stored = self._session.get_modelmeta().custom_metadata_map.get("monai_cavga", "")
        found = tuple(each.name for each in self._session.get_outputs())
        try:
            self.metadata: dict[str, Any] = json.loads(stored)
            missing = [key for key in ("maps", "channels") if key not in self.metadata]
        except (ValueError, TypeError):
            missing = ["description"]
        if missing or found != OUTPUTS:
            what = f"no {missing[0]}" if missing else f"the outputs {', '.join(found)}"
            raise OnnxBackendError(
                f"model {file} has {what}, expected an export of monai_cavga {__version__}: "
                "make it with `python -m monai_cavga export`"
            )
        self.names: list[str] = list(self.metadata["maps"])
        self.channels: int = int(self.metadata["channels"])

    def run(self, batch: Array) -> OnnxMaps:
        """Pictures of one size to their maps.

        Args:
            batch: ``(B, C, H, W)``, float32 in [0, 1], rows as displayed; any B, H and W from 1.

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
        return OnnxMaps(*self._session.run(OUTPUTS, {"image": np.ascontiguousarray(batch)}))


def open_session(content: bytes, *, name: str, threads: int = 0) -> Any:
    """A CPU session of ONNX Runtime from a file's bytes.

    Raises:
        OnnxBackendError: if ONNX Runtime does not take the file.
        ModuleNotFoundError: without onnxruntime, saying what to install.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("ONNX files need onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors are raised, warnings of the optimiser are not for a user
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own classes, which it does not promise to keep
        raise OnnxBackendError(f"model {name} cannot be opened ({type(error).__name__}): export it again") from error
