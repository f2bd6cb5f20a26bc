"""The benchmark of detectors without training: its mathematics, and one whole run on made images."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_model
from scipy.spatial.distance import cdist

from monai_cavga.data import phantom
from monai_cavga.networks.encoders import ResNetEncoder

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import baseline_models

    return baseline_models


@pytest.fixture
def baselines(models: ModuleType) -> ModuleType:
    import baselines

    return baselines


def features(seed: int, *, channels: int = 3, size: tuple[int, int] = (4, 5)) -> torch.Tensor:
    return torch.randn(channels, *size, generator=torch.Generator().manual_seed(seed))


def test_memory_bank_is_the_nearest_patch(models: ModuleType) -> None:
    bank = models.MemoryBank(size=1000)
    inside = torch.ones(4, 5, dtype=torch.bool)
    inside[0, 0] = False
    seen = [features(seed) for seed in (1, 2)]
    for image in seen:
        bank.observe(image, inside)
    bank.finish()
    patches = np.concatenate([image.flatten(1).T.numpy()[1:] for image in seen])  # the first position is outside
    expected = cdist(features(9).flatten(1).T.numpy(), patches).min(axis=1).reshape(4, 5)
    np.testing.assert_allclose(bank.distance(features(9)), expected, rtol=1e-4, atol=1e-5)
    assert bank.distance(seen[1])[0, 0] > 0
    assert bank.distance(seen[1])[0, 1] < 1e-3


def test_memory_bank_draws_from_all_images_alike(models: ModuleType) -> None:
    inside = torch.ones(10, 10, dtype=torch.bool)
    banks = [models.MemoryBank(size=200, seed=seed) for seed in (0, 0, 1)]
    for bank in banks:
        for number in range(10):
            bank.observe(torch.full((1, 10, 10), float(number)), inside)
        bank.finish()
    counts = torch.bincount(banks[0].bank[:, 0].long(), minlength=10)
    assert counts.sum() == 200
    assert counts.min() >= 8  # 20 expected from each image, standard deviation 4
    assert torch.equal(banks[0].bank, banks[1].bank)
    assert not torch.equal(banks[0].bank, banks[2].bank)


@pytest.mark.parametrize("by_position", [False, True])
def test_gaussian_is_the_mahalanobis_distance(models: ModuleType, by_position: bool) -> None:
    gaussian = models.Gaussian(by_position=by_position)
    inside = torch.ones(4, 5, dtype=torch.bool)
    inside[0, 0] = False
    seen = torch.stack([features(seed) for seed in range(6)])
    for image in seen:
        gaussian.observe(image, inside)
    gaussian.finish()
    x = seen.flatten(2).numpy()[:, :, 1:].astype(np.float64)  # (6, 3, 19)
    overall = x.mean(axis=(0, 2))
    mean = np.repeat(overall[:, None], 20, axis=1)
    if by_position:
        mean[:, 1:] = x.mean(axis=0)  # the position outside keeps the mean of all
    rest = (x - mean[:, 1:]).transpose(1, 0, 2).reshape(3, -1)
    covariance = rest @ rest.T / (6 * 19 - (19 if by_position else 1))
    covariance += models.SHRINKAGE * np.trace(covariance) / 3 * np.eye(3)
    delta = features(9).flatten(1).numpy() - mean
    expected = np.sqrt(np.einsum("cp,cd,dp->p", delta, np.linalg.inv(covariance), delta)).reshape(4, 5)
    np.testing.assert_allclose(gaussian.distance(features(9)), expected, rtol=1e-4)


def test_nothing_seen(models: ModuleType) -> None:
    with pytest.raises(ValueError, match="has seen 0 patches, expected at least 1"):
        models.MemoryBank().finish()
    with pytest.raises(ValueError, match="has seen 0 patches, expected at least 2"):
        models.Gaussian().finish()
    with pytest.raises(ValueError, match="method is 'knn', expected one of memory_bank"):
        models.detector("knn")


def test_layer_features(models: ModuleType) -> None:
    encoder = ResNetEncoder(stages=3).eval()
    image = torch.rand(3, 48, 64)
    both = models.layer_features(encoder, image)
    assert both.shape == (128 + 256, 6, 8)
    every = models.layer_features(encoder, image, (1, 2, 3))
    assert every.shape == (64 + 128 + 256, 6, 8)
    torch.testing.assert_close(every[64:], both)
    unit = models.layer_features(encoder, image, kind="unit")
    torch.testing.assert_close(unit.square().sum(0), torch.full((6, 8), 2.0))  # two stages of length 1
    averaged = models.layer_features(encoder, image, kind="averaged")
    torch.testing.assert_close(averaged[:, 2, 3], both[:, 1:4, 2:5].mean((1, 2)))
    torch.testing.assert_close(averaged[:, 0, 0], both[:, :2, :2].mean((1, 2)))
    with pytest.raises(ValueError, match="features are 'cosine', expected one of plain, averaged, unit"):
        models.layer_features(encoder, image, kind="cosine")
    with pytest.raises(ValueError, match=r"image is 40 x 64 .* multiples of 16"):
        models.layer_features(encoder, image[:, :40])


def test_contributing_positions(baselines: ModuleType) -> None:
    fov = torch.zeros(1, 80, 96, dtype=torch.bool)
    fov[0, 17, 40] = True  # hand: position (2, 5) of stride 8, and its neighbours
    expected = torch.zeros(10, 12, dtype=torch.bool)
    expected[1:4, 4:7] = True
    assert torch.equal(baselines.contributing(fov, (10, 12)), expected)


@pytest.fixture
def screw_dir(tmp_path: Path) -> Path:
    """MVTec AD's layout with phantoms in place of screws."""
    root = tmp_path / "mvtec" / "screw"
    for folder, seeds, lesions in (
        ("train/good", range(6), False),
        ("test/good", (6, 7), False),
        ("test/spot", (8, 9), True),
    ):
        for seed in seeds:
            image, mask = phantom(seed, size=(80, 96), lesions=lesions)
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / folder / f"{seed:03d}.png")
            if lesions:
                (root / "ground_truth/spot").mkdir(parents=True, exist_ok=True)
                Image.fromarray(255 * mask).save(root / f"ground_truth/spot/{seed:03d}_mask.png")
    return root.parent


def test_run_and_collect(baselines: ModuleType, screw_dir: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights, output = tmp_path / "random.safetensors", tmp_path / "results"
    save_model(ResNetEncoder(stages=3), str(weights))
    command = f"run --protocol screw --method {{}} --dataset_dir {screw_dir} --weights {weights} --quiet"
    for method in ("memory_bank", "gaussian", "gaussian_position"):
        baselines.main([*command.format(method).split(), "--output", str(output), "--size", "64", "80"])
    files = sorted(output.iterdir())
    assert [path.name for path in files] == [
        f"baselines_screw_{name}_64x80_seed0.json" for name in ("gaussian", "gaussian_position", "memory_bank")
    ]
    result = json.loads(files[0].read_text())
    assert result["n_training_images"] == 5
    assert result["metrics"]["n_images_with_anomalous_pixels"] == 2
    assert 0 <= result["metrics"]["aupro"] <= 1
    assert {"seconds", "images_per_second", "peak_rss_mib", "command", "machine"} <= set(result)
    files[0].write_text(json.dumps(result | {"title": "kept"}))
    baselines.main([*command.format("gaussian").split(), "--output", str(output), "--size", "64", "80"])
    baselines.main(["collect", "--output", str(output)])
    text = (output / "baselines.md").read_text()
    assert text.count("| 64x80 | 2+3 | plain | 5 |") == 3
    assert "| kept | 64x80" in text  # a finished file is not measured again


def test_nothing_to_collect(baselines: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no results in"):
        baselines.main(["collect", "--output", str(tmp_path)])
