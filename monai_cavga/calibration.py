"""What a localiser learns from normal images after training: latent statistics, the fusion of maps, a threshold.

Three sets of images, none of them test images: the training normals give the latent's Gaussian; held-out normals
centre and scale the maps and set the threshold; held-out normals with made anomalies choose the weights of ``fused``.
Stored as safetensors with a JSON file of the same name beside it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from monai_cavga.handlers.files import write_atomic
from monai_cavga.latent_fit import CalibrationError, GaussianStatistics, fit_latent_distance
from monai_cavga.metrics import PixelHistogram, RegionHistogram, UndefinedMetricError, image_auroc, image_score
from monai_cavga.metrics.binning import DEFAULT_BITS, item_histograms
from monai_cavga.metrics.score import ScoreRule
from monai_cavga.networks import CAVGALocalizer
from monai_cavga.networks.weights import half_precision, half_precision_bytes, plain_settings

__all__ = ["FUSION_GRID", "CalibrationError", "Calibrator", "GaussianStatistics", "load_calibration"]

# Weights of the class logit and of the latent distance; the single maps are among them, so that the best of the grid
# is never below its best part on the images that chose it.
FUSION_GRID = ((1.0, 0.0), (1.0, 0.2), (1.0, 0.5), (0.5, 1.0), (0.0, 1.0))
FEATURES = "unit length"  # of `stacked_features`: statistics of other features have the same shapes
LEVELS = (0.5, 0.9, 0.99, 0.995, 0.999, 0.9999)
_SAMPLE = 4096  # positions kept of a held-out image
_PRIOR_IMAGES = 5.0  # a position counts as if it had been average in so many more images


class Calibrator:
    """Calibrate a localiser with a pyramid head or without; see the module.

    Args:
        localizer: its buffers are changed in place.
        fit_loader: training normals, batches with ``image`` and ``fov`` (used where it is there).
        normal_loader: held-out normals, the same.
        made_loaders: by name, held-out normals with made anomalies: ``image``, ``mask`` ``(B, 1, H, W)``, ``label``.
            Give the kinds that training made: the weights are the best for what the model is for, and a kind that
            looks like nothing a clinic meets would weigh as much.
        test_items: the test set's data list; calibrating on one of its images is refused.
        path: where to write, ``.safetensors``; the JSON goes beside it.
        model_path: where the model that belongs to the calibration goes, in half precision, ``.safetensors``.
        false_positive_rate: share of normal pixels above the threshold, in (0, 1).
        score_rule: of the image score.
        seed: of the positions that are kept.
        settings: options of the training, kept in the JSON.
        device: where to compute.

    Raises:
        CalibrationError: if ``false_positive_rate`` is outside (0, 1) or a loader holds a test image or an anomalous
            one where normals belong.
    """

    def __init__(
        self,
        localizer: CAVGALocalizer,
        *,
        fit_loader: Any,
        normal_loader: Any,
        made_loaders: Mapping[str, Any],
        path: str | Path,
        model_path: str | Path,
        test_items: Sequence[Mapping[str, Any]] = (),
        false_positive_rate: float = 0.01,
        score_rule: ScoreRule = 0.995,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if not 0 < false_positive_rate < 1:
            raise CalibrationError(f"false_positive_rate is {false_positive_rate}, expected (0, 1)")
        self.localizer, self.device = localizer, torch.device(device)
        self.path, self.model_path = Path(path), Path(model_path)
        self.fit_loader, self.normal_loader, self.made_loaders = fit_loader, normal_loader, made_loaders
        self.false_positive_rate, self.score_rule, self.seed = false_positive_rate, score_rule, seed
        self.settings = plain_settings(settings)
        tested = {str(item["image"]) for item in test_items}
        for name, loader in {"fit": fit_loader, "normal": normal_loader, **made_loaders}.items():
            _check_items(name, _items(loader), tested)
        fit, normal = ({str(item["image"]) for item in _items(loader)} for loader in (fit_loader, normal_loader))
        both = fit & normal
        if both:
            raise CalibrationError(f"fit and normal images share {min(both)}: hold normals out (validation_fraction)")

    def run(self) -> dict[str, Any]:
        """Calibrate, write model, calibration and JSON, and return what the JSON holds."""
        half_precision(self.localizer)  # so that the calibration is that of the file
        self.localizer.to(self.device).eval()
        with torch.no_grad():
            positions = fit_latent_distance(self.localizer, self.fit_loader, device=self.device)
            self._positions()
            levels = self._scale()
            scores = self._choose()
            self._threshold()
            normal_scores = self._normal_scores()
        report: dict[str, Any] = {
            "n_fit": len(_items(self.fit_loader)),
            "n_normal": len(_items(self.normal_loader)),
            "positions": positions,
            "data_sha256": _digest([*_items(self.fit_loader), *_items(self.normal_loader)]),
            "seed": self.seed,
            "false_positive_rate": self.false_positive_rate,
            "score_rule": self.score_rule,
            "quantiles_of_normals": levels,
            "image_scores_of_normals": normal_scores,
            "weights": {"class": float(self.localizer.weight[0]), "latent_distance": float(self.localizer.weight[1])},
            "validation": scores,
            "settings": self.settings,
        }
        model = half_precision_bytes(self.localizer, settings=self.settings)
        report["model_sha256"] = hashlib.sha256(model).hexdigest()
        write_atomic(self.model_path, model)
        own = {name: tensor.contiguous().cpu() for name, tensor in _buffers(self.localizer).items()}
        write_atomic(self.path, save(own, metadata={"features": FEATURES}))
        write_atomic(self.path.with_suffix(".json"), json.dumps(report, indent=2).encode())
        return report

    def _positions(self) -> None:
        """What training normals have at each position: a camera's dust, the rim of its field of view.

        For the class logit the logarithm of how much more often C calls a position anomalous on normal images than it
        does elsewhere, for the distance the excess over its mean; both at least 0, and 0 where nothing is known.
        """
        total, count = torch.zeros(1), torch.zeros(1)
        for batch in tqdm(self.fit_loader, desc="positions", unit="batch"):
            parts, inside = self._parts(batch)
            values = torch.cat([parts[:, :1].sigmoid(), parts[:, 1:]], dim=1) * inside
            total = total + values.sum(dim=0).cpu()
            count = count + inside.sum(dim=0).cpu()
        overall = total.sum(dim=(1, 2), keepdim=True) / count.sum().clamp(min=1)
        mean = (total + _PRIOR_IMAGES * overall) / (count + _PRIOR_IMAGES)
        mean = F.avg_pool2d(mean[None], 3, stride=1, padding=1, count_include_pad=False)[0]
        position = torch.stack([(mean[0] / overall[0].clamp(min=1e-6)).log(), mean[1] - overall[1]])
        self.localizer.position = (position.clamp(min=0) * (count > 0)).to(self.device)

    def _parts(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Class logit and latent distance at the finer size ``(B, 2, h, w)``, and the field of view there."""
        image, inside = self._image(batch)
        parts = self.localizer.parts(self.localizer.network.encoder.pyramid(image))
        return parts, F.interpolate(inside, size=parts.shape[-2:], mode="area") > 0.5

    def _scale(self) -> dict[str, dict[str, float]]:
        random = np.random.RandomState(self.seed)
        kept: list[Tensor] = []
        for batch in tqdm(self.normal_loader, desc="held-out normals", unit="batch"):
            parts, inside = self._parts(batch)
            for each, known in zip(self.localizer.relative(parts), inside, strict=True):
                values = each[:, known[0]].T.cpu()  # (n, 2)
                kept.append(values[random.permutation(len(values))[:_SAMPLE]])
        self.values = torch.cat(kept).double().numpy()  # (images * 4096 at most, 2)
        quantiles = np.quantile(self.values, LEVELS, axis=0)
        centre, top = quantiles[0], quantiles[LEVELS.index(0.999)]
        self.localizer.centre.copy_(torch.from_numpy(centre))
        self.localizer.scale.copy_(torch.from_numpy(np.maximum(top - centre, 1e-6)))
        names = ("class_logit", "latent_distance")
        return {
            name: {str(level): float(q) for level, q in zip(LEVELS, quantiles[:, k], strict=True)}
            for k, name in enumerate(names)
        }

    def _choose(self) -> list[dict[str, Any]]:
        """Score every entry of the grid on the made anomalies and keep the best mean."""
        has_class = self.localizer.network.pyramid_classifier is not None
        grid = FUSION_GRID if has_class else (FUSION_GRID[-1],)
        found: list[dict[str, Any]] = [{"weights": list(weights)} for weights in grid]
        for name, loader in self.made_loaders.items():
            pixels, regions = [PixelHistogram() for _ in grid], [RegionHistogram() for _ in grid]
            scores: list[list[float]] = [[] for _ in grid]
            labels: list[int] = []
            for batch in tqdm(loader, desc=f"made anomalies ({name})", unit="batch"):
                parts = self.localizer.standardised(self._parts(batch)[0])
                for each, mask in zip(parts.cpu(), _plain(batch["mask"]), strict=True):
                    labels.append(int((mask == 1).any()))
                    each = F.interpolate(each[None], size=mask.shape[-2:], mode="bilinear", align_corners=False)[0]
                    known = mask.to(torch.int8)
                    inside = (known >= 0).float()
                    for k, weights in enumerate(grid):
                        fused = (each * torch.tensor(weights)[:, None, None]).sum(dim=0, keepdim=True)
                        counts = item_histograms(fused, known, bits=DEFAULT_BITS)
                        pixels[k].update(fused, known, counts=counts)
                        regions[k].update(fused, known, counts=counts)
                        scores[k].append(image_score(fused, fov=inside, rule=self.score_rule))
            for k in range(len(grid)):
                found[k][name] = _summary(pixels[k], regions[k], np.array(scores[k]), np.array(labels))
        means = [np.mean([np.mean(list(row[name].values())) for name in self.made_loaders] or [0.0]) for row in found]
        best = int(np.argmax(means))
        for row, mean in zip(found, means, strict=True):
            row["mean"] = float(mean)
        self.localizer.weight.copy_(torch.tensor(grid[best]))
        return found

    def _threshold(self) -> None:
        centre, scale, weight = (
            getattr(self.localizer, name).double().cpu().numpy() for name in ("centre", "scale", "weight")
        )
        fused = ((self.values - centre) / scale * weight).sum(axis=1)
        self.localizer.threshold.fill_(float(np.quantile(fused, 1 - self.false_positive_rate)))

    def _normal_scores(self) -> list[float]:
        """Image scores of ``fused`` on held-out normals at the network's size, ascending: what a score is ranked in."""
        scores = []
        for batch in tqdm(self.normal_loader, desc="image scores", unit="batch"):
            image, inside = self._image(batch)
            for each, fov in zip(self.localizer.anomaly_maps(image, ["fused"]), inside, strict=True):
                scores.append(image_score(each, fov=fov, rule=self.score_rule))
        return sorted(scores)

    def _image(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        image = _plain(batch["image"]).to(self.device)
        inside = _plain(batch["fov"]).to(self.device) if "fov" in batch else torch.ones_like(image[:, :1])
        return image, inside.float()


def load_calibration(localizer: CAVGALocalizer, path: str | Path) -> None:
    """Fill a localiser's calibration, or change nothing for ``"none"`` (maps that need none).

    Raises:
        CalibrationError: if the file is missing, unreadable, or of another network.
    """
    if path == "none":
        return
    path = Path(path)
    if not path.is_file():
        raise CalibrationError(f"calibration {path} does not exist: make it with `python -m monai_cavga calibrate`")
    try:
        state = load_file(path)
        with safe_open(path, framework="pt") as file:
            features = (file.metadata() or {}).get("features")
    except (SafetensorError, OSError) as error:
        raise CalibrationError(f"calibration {path} cannot be read: make it again") from error
    if features != FEATURES:
        raise CalibrationError(
            f"calibration {path} is of features {features!r}, expected {FEATURES!r}: it was made by another version; "
            "make it again with `python -m monai_cavga calibrate`"
        )
    own = _buffers(localizer)
    for name, buffer in own.items():
        fits = name in state and state[name].shape == buffer.shape
        if name == "position" and name in state:  # of any size: it is brought to the map's
            fits = state[name].ndim == 3 and state[name].shape[0] == 2
        if not fits:
            got = f"shape {tuple(state[name].shape)}" if name in state else "nothing"
            raise CalibrationError(
                f"calibration {path} has {got} for {name}, expected shape {tuple(buffer.shape)}: it is of another "
                "network; calibrate this one"
            )
    for name, buffer in own.items():
        if name == "position":
            localizer.position = state[name].to(buffer.device)
        else:
            buffer.copy_(state[name])
    localizer.uses_distance = bool(localizer.weight[1] != 0)


def _buffers(localizer: CAVGALocalizer) -> dict[str, Tensor]:
    own = {name: getattr(localizer, name) for name in ("centre", "scale", "weight", "threshold", "position")}
    return {**own, "mean": localizer.distance.mean, "whitening": localizer.distance.whitening}


def _summary(pixels: PixelHistogram, regions: RegionHistogram, scores: Any, labels: Any) -> dict[str, float]:
    try:
        return {
            "pixel_auroc": pixels.auroc(),
            "aupro": regions.aupro(),
            "image_auroc": float(image_auroc(scores, labels)),
        }
    except UndefinedMetricError as error:
        raise CalibrationError(
            f"the made anomalies do not choose: {error}; "
            "here, hold out more normals (validation_fraction) or others (seed)"
        ) from error


def _items(loader: Any) -> Sequence[Mapping[str, Any]]:
    items = getattr(getattr(loader, "dataset", None), "data", ())
    return [item for item in items if isinstance(item, Mapping)]


def _check_items(name: str, items: Sequence[Mapping[str, Any]], tested: set[str]) -> None:
    if not items:
        raise CalibrationError(f"the {name} loader has no data list with images, so that none can be refused: give one")
    for item in items:
        if str(item.get("image")) in tested:
            raise CalibrationError(f"the {name} images hold test image {item.get('name')}: use training normals")
        if int(item.get("label", 0)) != 0:
            raise CalibrationError(f"the {name} images hold anomalous {item.get('name')}: pass normal images only")


def _digest(items: Iterable[Mapping[str, Any]]) -> str:
    """Hash of the images' contents, in the order of their names."""
    digest = hashlib.sha256()
    for item in sorted(items, key=lambda each: str(each.get("name"))):
        path = Path(str(item["image"]))
        digest.update(str(item.get("name")).encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def _plain(tensor: Tensor) -> Tensor:
    return torch.as_tensor(tensor).as_subclass(Tensor)
