"""A deployed bundle as a file's bytes, checked against the bundle before anything is written."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from monai_cavga.export.backend import OUTPUTS, open_session
from monai_cavga.export.bundle import Deployed, ExportError

__all__ = ["FORMATS", "OPSET", "PARITY", "largest_difference", "onnx_bytes", "quiet", "torch_export_bytes"]

OPSET = 18  # the first with everything that the graph needs, so that older runtimes read the file
PARITY = 1e-4  # of maps in [0, 1]
_PICTURES = ((2, 1.6, 1.3), (1, 1.0, 1.0), (3, 0.7, 0.9))  # how many, and their sides in those of the network

Run = Callable[[Tensor], Sequence[Tensor]]


def onnx_bytes(deployed: Deployed) -> tuple[bytes, Run]:
    """An ONNX file of opset `OPSET` and a function that runs it.

    Raises:
        ModuleNotFoundError: without onnx, onnxscript or onnxruntime, saying what to install.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it, and names it only deep inside
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"ONNX files need {error.name}: pip install onnx onnxscript onnxruntime") from error
    program = _exported(deployed)
    with quiet():
        found = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=["image"], output_names=OUTPUTS, verbose=False
        )
    model = found.model_proto  # type: ignore[union-attr]
    description = {**deployed.description, "opset": OPSET}
    onnx.helper.set_model_props(model, {"monai_cavga": json.dumps(description), "notice": str(description["notice"])})
    model.producer_name = "monai_cavga"
    content: bytes = model.SerializeToString()
    session = open_session(content, name="just exported")
    return content, lambda images: [torch.from_numpy(each) for each in session.run(OUTPUTS, {"image": images.numpy()})]


def torch_export_bytes(deployed: Deployed) -> tuple[bytes, Run]:
    """A ``.pt2`` file of `torch.export`, ``description.json`` among its extra files, and a function that runs it."""
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(
            _exported(deployed), buffer, extra_files={"description.json": json.dumps(deployed.description)}
        )
        loaded = torch.export.load(io.BytesIO(buffer.getvalue())).module()

    @torch.no_grad()
    def run(images: Tensor) -> Sequence[Tensor]:
        found: Sequence[Tensor] = loaded(images)
        return found

    return buffer.getvalue(), run


FORMATS: dict[str, Callable[[Deployed], tuple[bytes, Run]]] = {
    "onnx": onnx_bytes,
    "torch_export": torch_export_bytes,
}


def largest_difference(run: Run, deployed: Deployed) -> float:
    """The largest difference of an exported file from its bundle, over seeded pictures of three sizes and batches.

    Raises:
        ExportError: if it is above `PARITY`.
    """
    generator = torch.Generator().manual_seed(0)
    channels = int(deployed.description["channels"])
    height, width = deployed.description["image_size"]
    largest = 0.0
    for batch, tall, wide in _PICTURES:
        size = (round(height * tall), round(width * wide))
        # soft blobs with grain: noise alone looks the same everywhere to a network
        blobs = torch.rand(batch, channels, 5, 7, generator=generator)
        images = torch.nn.functional.interpolate(blobs, size=size, mode="bilinear", align_corners=False)
        images = 0.8 * images + 0.2 * torch.rand(images.shape, generator=generator)
        for name, found, expected in zip(OUTPUTS, run(images), deployed.expected(images), strict=True):
            difference = float((found - expected).abs().max())
            if not difference <= PARITY:  # nor NaN
                raise ExportError(
                    f"exported {name} of {size[0]} x {size[1]} pictures differ by {difference:.2g} from the bundle's, "
                    f"expected {PARITY:g} at most: nothing was written; report it with the versions of torch and "
                    "onnxscript"
                )
            largest = max(largest, difference)
    return largest


def _exported(deployed: Deployed) -> torch.export.ExportedProgram:
    height, width = deployed.description["image_size"]
    example = torch.rand(2, int(deployed.description["channels"]), height + 8, width + 12)
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with quiet(), torch.no_grad():
        return torch.export.export(deployed.graph, (example,), dynamic_shapes=(free,))


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings: MONAI's about logging, and the exporters' remarks to their developers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
