"""Detectors without training on frozen ImageNet features, on the protocols that CAVGA is measured on.

``python benchmarks/baselines.py run --protocol retina --method gaussian --dataset_dir IDRID --weights FILE`` fits on
the training section, evaluates on the test section at the source's size and writes one JSON file; a finished one is
kept. ``python benchmarks/baselines.py collect`` makes the table ``benchmarks/results/baselines.md`` from those files.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from baseline_models import FEATURES, METHODS, SHRINKAGE, Detector, detector, layer_features
from baseline_table import COLUMNS, MAX_FPR, PIXEL_LABELS, PROTOCOLS, QUANTILE, table
from reporting import RESULTS, cell, machine, shown, write_json
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from monai_cavga.data import Item, idrid_items, mvtad_items, ped2_items, read_image
from monai_cavga.data.layout import Section
from monai_cavga.handlers.files import write_atomic
from monai_cavga.metrics import PixelHistogram, RegionHistogram, bootstrap_interval, image_auroc, image_score
from monai_cavga.networks.encoders import ResNetEncoder
from monai_cavga.networks.weights import load_encoder_weights
from monai_cavga.transforms.fundus import field_of_view
from monai_cavga.transforms.load import anomaly_mask

SIZES = {"retina": (256, 384), "screw": (256, 256), "ped2": (480, 720)}


class Sample(NamedTuple):
    """One image ready for a detector."""

    image: Tensor  # (3, H, W) at the input's size, in [0, 1]
    fov: Tensor  # (1, H, W) bool at the source's size


def protocol_items(
    protocol: str, dataset_dir: Path, section: Section, *, validation_fraction: float, seed: int
) -> list[Item]:
    """The section of a protocol's data set, without labelled anomalies."""
    if protocol == "retina":
        return idrid_items(dataset_dir, section, validation_fraction=validation_fraction, seed=seed)
    if protocol == "screw":
        return mvtad_items(dataset_dir, section, category="screw", validation_fraction=validation_fraction, seed=seed)
    return ped2_items(dataset_dir, section, validation_fraction=validation_fraction, seed=seed)


def load(item: Item, size: Sequence[int], *, fundus: bool) -> Sample:
    """Read one image, find its field of view (everything unless ``fundus``), bring it to the input's size."""
    pixels = torch.from_numpy(read_image(item["image"]).transpose(2, 0, 1).copy())  # (3, H, W)
    shape = pixels.shape[-2:]
    fov = torch.from_numpy(field_of_view(pixels.numpy())) if fundus else torch.ones(shape, dtype=torch.bool)
    image = F.interpolate(pixels[None], size=tuple(size), mode="bilinear", antialias=True, align_corners=False)[0]
    return Sample(image.clamp(0, 1), fov[None])


def fit(found: Detector, encoder: ResNetEncoder, items: Sequence[Item], args: argparse.Namespace) -> None:
    """Show every training image to the detector: all patches that a pixel inside the field of view is made from."""
    for item in tqdm(items, desc=f"{args.method}: training", unit="image", disable=args.quiet):
        sample = load(item, args.size, fundus=args.protocol == "retina")
        features = layer_features(encoder, sample.image, args.layers, kind=args.features)
        found.observe(features, contributing(sample.fov, features.shape[1:]))
    found.finish()


def contributing(fov: Tensor, grid: Sequence[int]) -> Tensor:
    """Positions of a feature map whose value reaches a pixel of the field of view when the map is interpolated.

    Args:
        fov: ``(1, H, W)`` bool.
        grid: ``(h, w)`` of the feature map.

    Returns:
        ``(h, w)`` bool: the positions that touch the field of view, and their neighbours.
    """
    share = F.adaptive_max_pool2d(fov[None].float(), tuple(grid))
    return F.max_pool2d(share, 3, stride=1, padding=1)[0, 0] > 0


def evaluate(
    found: Detector, encoder: ResNetEncoder, items: Sequence[Item], args: argparse.Namespace
) -> tuple[dict[str, Any], float]:
    """Metrics of the test images, and the seconds that reading and maps took (metrics not counted)."""
    pixels, regions, scores = PixelHistogram(), RegionHistogram(), []
    seconds = 0.0
    for item in tqdm(items, desc=f"{args.method}: test", unit="image", disable=args.quiet):
        start = time.monotonic()
        sample = load(item, args.size, fundus=args.protocol == "retina")
        coarse = found.distance(layer_features(encoder, sample.image, args.layers, kind=args.features))[None, None]
        anomaly_map = F.interpolate(coarse, size=sample.fov.shape[-2:], mode="bilinear", align_corners=False)[0]
        scores.append(image_score(anomaly_map, fov=sample.fov, rule=QUANTILE))
        seconds += time.monotonic() - start
        if args.protocol in PIXEL_LABELS:
            fov = sample.fov[0].numpy()
            labels = anomaly_mask(item["mask_files"], item["label"], fov=fov, image_name=item["name"])
            mask = torch.from_numpy(labels)[None]  # (1, H, W); -1 outside the field of view or without labels
            pixels.update(anomaly_map, mask)
            regions.update(anomaly_map, mask)
    return summary(pixels, regions, scores, [item["label"] for item in items], seed=args.seed), seconds


def summary(
    pixels: PixelHistogram, regions: RegionHistogram, scores: Sequence[float], labels: Sequence[int], *, seed: int
) -> dict[str, Any]:
    """The metrics by name; those of pixels only where pixels were counted."""
    interval = bootstrap_interval(image_auroc, [scores, labels], seed=seed)
    metrics: dict[str, Any] = {
        "image_auroc": image_auroc(scores, labels),
        "image_auroc_interval": [interval.low, interval.high],
        "n_images_normal": len(labels) - sum(labels),
        "n_images_anomalous": sum(labels),
    }
    if pixels.n_images:
        metrics |= {
            "pixel_auroc": pixels.auroc(),
            "pixel_ap": pixels.average_precision(),
            "aupro": regions.aupro(max_fpr=MAX_FPR),
            "iou_oracle_pooled": pixels.iou_oracle_pooled().value,
            "iou_oracle_images": pixels.iou_oracle_images().value,
            "n_images_with_anomalous_pixels": pixels.n_anomalous_images,
            "n_regions": regions.n_regions,
        }
    return metrics


def result_name(args: argparse.Namespace) -> str:
    """Name of a run's file without its ending: everything that changes the numbers stands in it."""
    layers = "" if args.layers == [2, 3] else f"_layer{''.join(map(str, args.layers))}"
    features = "" if args.features == "plain" else f"_{args.features}"
    part = "" if args.validation_fraction == 0.2 else f"_validation{args.validation_fraction:g}"
    size = f"{args.size[0]}x{args.size[1]}"
    return f"baselines_{args.protocol}_{args.method}{features}{layers}{part}_{size}_seed{args.seed}"


def run(args: argparse.Namespace) -> None:
    """Fit and evaluate one method on one protocol, unless its file is there."""
    args.size = list(args.size or SIZES[args.protocol])
    path = args.output / f"{result_name(args)}.json"
    if path.is_file():
        print(f"{shown(path)} is there already: remove it to measure again")
        return
    start = time.monotonic()
    encoder = ResNetEncoder(stages=3).eval()
    load_encoder_weights(encoder, args.weights)
    options = {"validation_fraction": args.validation_fraction, "seed": args.seed}
    training = protocol_items(args.protocol, args.dataset_dir, "training", **options)
    test = protocol_items(args.protocol, args.dataset_dir, "test", **options)
    found = detector(args.method, seed=args.seed)
    with torch.no_grad():
        fit(found, encoder, training, args)
        fitted = time.monotonic()
        metrics, seconds = evaluate(found, encoder, test, args)
    size = " ".join(map(str, args.size))
    result = {
        "protocol": args.protocol,
        "method": args.method,
        "title": METHODS[args.method],
        "seed": args.seed,
        "size": args.size,
        "layers": args.layers,
        "features": args.features,
        "validation_fraction": args.validation_fraction,
        "shrinkage": SHRINKAGE,
        "encoder_weights": f"ResNet-18, conv1 to layer3, from {Path(args.weights).name}",
        "n_training_images": len(training),
        "metrics": metrics,
        "seconds": round(time.monotonic() - start, 1),
        "fit_seconds": round(fitted - start, 1),
        "images_per_second": round(len(test) / seconds, 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "load_average": round(os.getloadavg()[0], 1),  # other work on the machine, which images/s suffers from
        "command": f"python benchmarks/baselines.py run --protocol {args.protocol} --method {args.method} "
        f"--dataset_dir DIR --weights FILE --seed {args.seed} --size {size} "
        f"--layers {' '.join(map(str, args.layers))} --features {args.features} "
        f"--validation_fraction {args.validation_fraction:g}",
        "machine": machine(),
    }
    write_json(path, result)
    print(f"wrote {shown(path)}: " + ", ".join(f"{title} {cell(metrics, key)}" for title, key in COLUMNS.items()))


def collect(args: argparse.Namespace) -> None:
    """Write the table from the result files."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.output.glob("baselines_*.json"))]
    if not results:
        sys.exit(
            f"no results in {shown(args.output)}: run `python benchmarks/baselines.py run --help` for how to make some"
        )
    path = args.output / "baselines.md"
    write_atomic(path, table(results, args.output).encode())
    print(f"wrote {shown(path)} from {len(results)} runs")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run", help="fit and evaluate one method on one protocol")
    runner.add_argument("--protocol", choices=list(PROTOCOLS), required=True)
    runner.add_argument("--method", choices=list(METHODS), required=True)
    runner.add_argument("--dataset_dir", type=Path, required=True, help="folder of IDRiD, of MVTec AD, or of Ped2")
    runner.add_argument("--weights", required=True, help="file of ResNet-18 weights, or 'imagenet': by URL")
    runner.add_argument("--seed", type=int, default=0)
    runner.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of the input, multiples of 16")
    runner.add_argument("--layers", type=int, nargs="+", choices=(1, 2, 3), default=[2, 3])
    runner.add_argument("--features", choices=list(FEATURES), default="plain")
    runner.add_argument("--validation_fraction", type=float, default=0.2, help="held out of the training images")
    runner.add_argument("--quiet", action="store_true", help="no progress bars")
    runner.set_defaults(run=run)
    collector = commands.add_parser("collect", help="table from the result files")
    collector.set_defaults(run=collect)
    for command in (runner, collector):
        command.add_argument("--output", type=Path, default=RESULTS, help="folder of the result files")
    args = parser.parse_args(arguments)
    args.run(args)


if __name__ == "__main__":
    main()
