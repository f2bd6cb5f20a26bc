"""LatentGradCAMInferer inside MONAI's evaluator: sizes, places, and both methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, Resized
from PIL import Image
from torch import Tensor, nn

from monai_cavga.attention import grad_cam, normalise_attention
from monai_cavga.inferers import LatentGradCAMInferer
from monai_cavga.networks import CAVGA, CAVGALocalizer
from monai_cavga.transforms import FieldOfViewd, LoadRGBd, source_maps

SIZE = (32, 48)
SOURCES = [(40, 70), (90, 60), SIZE, (33, 151)]  # (H, W); one has the network's own size


class Brightness(nn.Module):
    """In place of a network: its maps say where an image is bright, and where it is dark."""

    def anomaly_maps(self, image: Tensor, names: list[str]) -> Tensor:
        assert type(image) is Tensor  # networks are spared MetaTensor's cost
        bright = image.mean(dim=1, keepdim=True)
        return torch.cat([bright if name == "attention" else 1 - bright for name in names], dim=1)


def _network(**options: Any) -> CAVGA:
    torch.manual_seed(0)
    return CAVGA(**{"architecture": "D", "stages": 2, "latent_channels": 4, **options}).eval()


def _items(folder: Path) -> list[dict[str, Any]]:
    """Grey photographs of several sizes, each with a bright landmark at the lower left."""
    items = []
    for i, (height, width) in enumerate(SOURCES):
        pixels = np.full((height, width, 3), 77, dtype=np.uint8)
        pixels[_landmark(height, width)] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
        items.append({"image": str(folder / f"{i}.png"), "label": 0, "mask_files": "", "name": f"eye {i}"})
    return items


def _landmark(height: int, width: int) -> tuple[slice, slice]:
    return slice(height * 6 // 10, height * 8 // 10), slice(width // 10, width * 3 // 10)


def _evaluate(
    folder: Path, network: nn.Module, inferer: LatentGradCAMInferer, names: list[str]
) -> list[dict[str, Any]]:
    """All items, in one batch, as an evaluator leaves them."""
    preprocessing = Compose([LoadRGBd("image"), Resized("image", SIZE, mode="bilinear"), FieldOfViewd("image")])
    outputs: list[dict[str, Any]] = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(_items(folder), preprocessing), batch_size=len(SOURCES)),
        network=network,
        inferer=inferer,
        postprocessing=source_maps(preprocessing, names),
    )

    def collect(engine: Engine) -> None:  # MONAI leaves what was in the batch already with the batch
        outputs.extend({**item, **output} for item, output in zip(engine.state.batch, engine.state.output, strict=True))

    evaluator.add_event_handler(Events.ITERATION_COMPLETED, collect)
    evaluator.run()
    return outputs


# --- inside an evaluator ---


def test_a_landmark_comes_back_to_its_place_in_each_source(tmp_path: Path) -> None:
    names = ["residual", "attention"]
    outputs = _evaluate(tmp_path, Brightness(), LatentGradCAMInferer(names), names)
    assert [out["name"] for out in outputs] == [f"eye {i}" for i in range(len(SOURCES))]
    for out, (height, width) in zip(outputs, SOURCES, strict=True):
        assert out["attention"].shape == out["residual"].shape == out["fov"].shape == (1, height, width)
        assert out["mask"].shape == (1, height, width)
        rows, columns = _landmark(height, width)
        found = torch.nonzero(out["attention"][0] > 0.65).float().mean(dim=0)  # half way between 77/255 and 1
        assert abs(float(found[0]) - (rows.start + rows.stop - 1) / 2) < height / SIZE[0]  # a pixel of the network's
        assert abs(float(found[1]) - (columns.start + columns.stop - 1) / 2) < width / SIZE[1]
        expected = torch.full((height, width), 77 / 255)
        expected[rows, columns] = 1
        assert (out["attention"][0] - expected).abs().mean() < 0.05
        torch.testing.assert_close(out["residual"], 1 - out["attention"])


@pytest.mark.parametrize("method", ["closed_form", "autograd"])
def test_a_real_network_under_no_grad(tmp_path: Path, method: str) -> None:
    network = _network().requires_grad_(False)
    outputs = _evaluate(tmp_path, network, LatentGradCAMInferer(["attention"], method=method), ["attention"])
    for out, size in zip(outputs, SOURCES, strict=True):
        assert out["attention"].shape == (1, *size)
        assert not out["attention"].requires_grad
        assert out["attention"].min() >= 0
        assert out["attention"].max() <= 1
        assert isinstance(out["score"], float)


# --- the inferer alone ---


@pytest.mark.parametrize("options", [{}, {"architecture": "R"}, {"latent": "flat", "image_size": SIZE}])
def test_autograd_equals_the_closed_form(options: dict[str, Any]) -> None:
    network, image = _network(**options), torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        closed = LatentGradCAMInferer()(image, network)
        general = LatentGradCAMInferer(method="autograd")(image, network)
    torch.testing.assert_close(general, closed, rtol=0, atol=1e-5)
    assert not general.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())


def test_autograd_takes_a_latent_that_is_not_linear() -> None:
    class Squared(nn.Module):
        def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
            features = nn.functional.avg_pool2d(image, 2)
            return features, features.square()

    image = torch.rand(2, 3, 8, 12)
    maps = LatentGradCAMInferer(method="autograd")(image, Squared())
    features = nn.functional.avg_pool2d(image, 2).requires_grad_()
    attention = normalise_attention(grad_cam(features.square().sum(), features)).detach()
    expected = nn.functional.interpolate(1 - attention, size=(8, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("method", ["closed_form", "autograd"])
def test_the_type_of_the_input_is_kept(method: str) -> None:
    network, inferer = _network(), LatentGradCAMInferer(method=method)
    plain = torch.rand(1, 3, *SIZE)
    maps = inferer(plain, network)
    assert type(maps) is Tensor
    assert maps.shape == (1, 1, *SIZE)
    with_meta = inferer(MetaTensor(plain, meta={"filename_or_obj": "eye.png"}), network)
    assert isinstance(with_meta, MetaTensor)
    assert with_meta.meta["filename_or_obj"] == "eye.png"
    assert torch.equal(with_meta.as_tensor(), maps)
    assert not plain.requires_grad


def test_takes_a_localizer_and_any_order() -> None:
    network, image = _network(), torch.rand(2, 3, *SIZE)
    names = ["residual", "attention", "reconstruction"]
    with torch.no_grad():
        maps = LatentGradCAMInferer(names)(image, CAVGALocalizer(network))
        assert torch.equal(maps, network.anomaly_maps(image, names))


# --- errors ---


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match="method is 'hooks', expected 'closed_form' or 'autograd'"):
        LatentGradCAMInferer(method="hooks")


@pytest.mark.parametrize("maps", [["residual"], ["attention", "residual"], []])
def test_autograd_gives_attention_alone(maps: list[str]) -> None:
    with pytest.raises(ValueError, match=r"maps is \[.*\], expected \['attention'\] with method='autograd'"):
        LatentGradCAMInferer(maps, method="autograd")


@pytest.mark.parametrize("method", ["closed_form", "autograd"])
def test_the_networks_errors_come_through(method: str) -> None:
    with pytest.raises(ValueError, match="image width 50 is not a multiple of 8: resize or pad to 56"):
        LatentGradCAMInferer(method=method)(torch.rand(1, 3, 32, 50), _network())
