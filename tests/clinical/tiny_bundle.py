"""A bundle with a network small enough to run in no time, and photographs that its quality gate lets through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from monai_cavga.bundle import BundleDirectoryWorkflow
from monai_cavga.calibration import FEATURES
from monai_cavga.data import phantom
from monai_cavga.networks import CAVGA, CAVGALocalizer
from monai_cavga.networks.weights import half_precision_bytes

CONFIGS = Path(__file__).resolve().parents[2] / "bundles"
SIZE = (64, 96)
PHOTO_SIZE = (120, 176)  # another shape than the network's
NETWORK: dict[str, Any] = {"image_size": list(SIZE), "stages": 2, "latent_channels": 8}


def write_bundle(folder: Path, *, bundle: str = "idrid", seed: int = 0, far: float = 0.0, **changed: Any) -> Path:
    """The inference config of a bundle of ours with a tiny network, random weights and a made-up calibration.

    ``far`` moves the normals' features away from every image's.
    """
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = json.loads((CONFIGS / bundle / "configs" / "inference.json").read_text())
    config |= {**NETWORK, "device": "$torch.device('cpu')", **changed}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps({"name": "tiny", "version": "0.1.0"}))
    torch.manual_seed(seed)
    head, decoder, channels = config["head"], config["decoder"], config["in_channels"]
    network = CAVGA(in_channels=channels, stages=2, latent_channels=8, head=head, decoder=decoder, image_size=SIZE)
    localizer = CAVGALocalizer(network, maps=config["maps"])
    suffix = "safetensors" if bundle == "idrid" else "pt"
    model = folder / "models" / f"model.{suffix}"
    if suffix == "pt":
        torch.save({"model": localizer.state_dict()}, model)
    else:
        model.write_bytes(half_precision_bytes(localizer))
        _write_calibration(localizer, folder / "models" / "calibration.safetensors", far=far)
    return folder


def _write_calibration(localizer: CAVGALocalizer, path: Path, *, far: float) -> None:
    names = ("centre", "scale", "weight", "threshold", "position")
    state = {name: getattr(localizer, name).clone() for name in names}
    state |= {"mean": localizer.distance.mean + far, "whitening": localizer.distance.whitening.clone()}
    image = torch.from_numpy(phantom(0, size=SIZE)[0].astype(np.float32) / 255).permute(2, 0, 1)[None]
    with torch.no_grad():
        localizer.eval()
        parts = localizer.parts(localizer.network.pyramid(image))[0].flatten(1)
    # so that the map spreads between 0 and 1
    state["position"] = parts.std(dim=1)[:, None, None] * torch.rand(
        2, 4, 6, generator=torch.Generator().manual_seed(1)
    )
    state["centre"], state["scale"] = parts.mean(dim=1), parts.std(dim=1) + 1e-6
    save_file(state, path, metadata={"features": FEATURES})
    scores = [0.1 * number for number in range(10)]
    rule = json.loads((path.parents[1] / "configs" / "inference.json").read_text())["score_rule"]
    described = {"false_positive_rate": 0.01, "n_normal": 10, "score_rule": rule, "image_scores_of_normals": scores}
    path.with_suffix(".json").write_text(json.dumps(described))


def write_photo(path: Path, seed: int = 0) -> Path:
    """A phantom's photograph, in the format of the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo(seed)).save(path)
    return path


def photo(seed: int = 0) -> np.ndarray:
    """``(120, 176, 3)`` uint8."""
    return phantom(seed, size=PHOTO_SIZE, lesions=True)[0]


def run_inference(bundle: Path, photographs: Path, output: Path) -> None:
    """The same bundle through MONAI's engine."""
    where = {"dataset_dir": str(photographs), "output_dir": str(output)}
    workflow = BundleDirectoryWorkflow(bundle, run_id="inference", logging_file=False, **where)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
