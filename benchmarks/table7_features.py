"""Beside table 7: the latent distance of ImageNet features, nothing trained: what CAVGA-R's encoder begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader
from monai.transforms import Compose, Resized
from reporting import machine
from running import weights_file, weights_words
from tqdm import tqdm

from monai_cavga.data import InMemoryDataset, one_class_items
from monai_cavga.latent_fit import fit_latent_distance
from monai_cavga.metrics import image_auroc
from monai_cavga.networks import CAVGA, CAVGALocalizer, load_encoder_weights
from monai_cavga.transforms import LoadRGBd

SIZE, BATCH = (32, 32), 200


def features_settings(weights: str) -> dict[str, Any]:
    """What a finished result must have: the size and the first weights."""
    return {"size": list(SIZE), "encoder_weights": weights_words(weights), **weights_file(weights)}


def measure_features(data_set: str, *, data: Path, number: int, weights: str, flags: str = "") -> dict[str, Any]:
    """Fit one Gaussian to the features of a class's training images; how well its distance tells the other classes.

    Args:
        data_set: "mnist" or "cifar10".
        data: its folder.
        number: the normal class.
        weights: of ResNet-18, a file or "imagenet".
        flags: of the command line, for the result's command.
    """
    localizer = CAVGALocalizer(CAVGA(architecture="R", stages=3, decoder=False), maps=["latent_distance"]).eval()
    load_encoder_weights(localizer.network.encoder, weights)
    used = fit_latent_distance(localizer, _loader(data_set, data=data, number=number, section="training"))
    scores, labels = [], []
    with torch.inference_mode():
        for batch in tqdm(_loader(data_set, data=data, number=number, section="test"), unit="batch"):
            scores.append(localizer(torch.as_tensor(batch["image"])).mean(dim=(1, 2, 3)))
            labels.append(torch.as_tensor(batch["label"]))
    return {
        "data_set": data_set,
        "class": number,
        "command": f"python benchmarks/paper.py table7 --data-{data_set} DIR --classes {number} --weights FILE{flags}",
        **features_settings(weights),
        "positions": used,
        "image_auroc": float(image_auroc(torch.cat(scores).double().numpy(), torch.cat(labels).double().numpy())),
        "machine": machine(),
    }


def _loader(data_set: str, *, data: Path, number: int, section: str) -> DataLoader:
    """Batches of a section, read as the bundle reads them, grey images as three equal channels."""
    resized = Resized("image", spatial_size=SIZE, mode="bilinear", anti_aliasing=True)
    reading = Compose([LoadRGBd("image", channels=3), resized])
    items = one_class_items(data, section, dataset=data_set, normal_class=number, validation_fraction=0.1, seed=0)
    return DataLoader(InMemoryDataset(items, reading), batch_size=BATCH)
