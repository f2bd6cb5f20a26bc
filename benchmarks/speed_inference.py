"""Figures of inference: what maps cost beside the encoder, against Grad-CAM, other runtimes and a memory bank."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from baseline_models import MemoryBank, layer_features
from monai.transforms import Compose
from monai.visualize import GradCAM
from reporting import HERE
from speed_timing import Options, Row, interleaved, peak_growth_mib
from torch import Tensor, nn

from monai_cavga.attention import latent_attention
from monai_cavga.calibration import load_calibration
from monai_cavga.export.backend import open_session
from monai_cavga.export.bundle import Deployed
from monai_cavga.export.graph import DeployedGraph
from monai_cavga.export.write import onnx_bytes
from monai_cavga.networks import CAVGA, CAVGALocalizer, ResNetEncoder

CALIBRATION = HERE.parent / "bundles" / "idrid" / "models" / "calibration.safetensors"
SCALES = {"latent_distance": (0.0, 8.0)}


def localiser_cost(options: Options) -> list[Row]:
    """(c) The encoder's forward pass over the localiser's: 1 would be maps for nothing."""
    pyramid = CAVGA(stages=3, head="pyramid", decoder=False).eval()
    plain = CAVGA(decoder=False).eval()
    rows = []
    for batch, size in options.batches():
        image = torch.rand(batch, 3, *size)
        for network, maps in ((plain, ["attention"]), (pyramid, ["class"]), (pyramid, ["fused"]), (pyramid, list(ALL))):
            localiser = calibrated(network, maps)
            with torch.inference_mode():
                timing = interleaved(
                    {
                        "encoder": lambda n=network, x=image: n.encoder(x),
                        "localiser": lambda f=localiser, x=image: f(x),
                    },
                    options.rounds,
                )
            case = f"{', '.join(maps)}; batch {batch}, {size[0]} x {size[1]}"
            rows.append(Row(case, timing.medians(), timing.ratio("encoder", "localiser"), ">= 0.95"))
    return rows


ALL = ("fused", "class", "latent_distance")


def calibrated(network: CAVGA, maps: list[str]) -> CAVGALocalizer:
    """A localiser with the shipped calibration (which gives ``fused`` the class logit alone) where it fits."""
    localiser = CAVGALocalizer(network, maps=maps).eval()
    if network.pyramid_classifier is not None:
        load_calibration(localiser, CALIBRATION)
    return localiser


class Scored(nn.Module):
    """The score behind CAVGA_u's attention as one logit an image, which is what MONAI's Grad-CAM asks of a network."""

    def __init__(self, network: CAVGA) -> None:
        super().__init__()
        self.encoder, self.mean = network.encoder, network.latent.mean

    def forward(self, image: Tensor) -> Tensor:
        return self.mean(self.encoder(image)).sum(dim=(2, 3)).sum(dim=1, keepdim=True)


def against_grad_cam(options: Options) -> list[Row]:
    """(d) MONAI's GradCAM on the same network, score and layer; raw maps, before any up-sampling."""
    network = CAVGA(decoder=False).eval()
    cam = GradCAM(Scored(copy.deepcopy(network)), target_layers="encoder")
    rows = []
    for (batch, size), goal in zip(options.batches(), (">= 3", ">= 3.5"), strict=True):
        image = torch.rand(batch, 3, *size)

        def ours(x: Tensor = image) -> Tensor:
            with torch.inference_mode():
                return latent_attention(network.encoder(x), network.latent.positional_weight())

        def monais(x: Tensor = image) -> Tensor:
            return cam.compute_map(x, class_idx=0)

        expected = monais().detach()
        difference = float((ours() - expected).abs().max() / expected.max().clamp(min=1e-8))
        timing = interleaved({"MONAI's GradCAM": monais, "closed form": ours}, options.rounds)
        numbers = {**timing.medians(), "largest difference, share of the maximum": difference}
        case = f"batch {batch}, {size[0]} x {size[1]}"
        rows.append(Row(case, numbers, timing.ratio("MONAI's GradCAM", "closed form"), goal))
    return rows


def runtimes(options: Options) -> list[Row]:
    """(e) The exported graph, resizing and all, at the network's size on each runtime; ratios are eager over it."""
    rows = []
    for batch, size in options.batches():
        graph, image = deployed_graph(size), torch.rand(batch, 3, *size)
        calls = {"eager": lambda g=graph, x=image: g(x)[0], "localiser alone": lambda g=graph, x=image: g.localizer(x)}
        calls["bf16"] = half(graph, image)
        calls["ONNX Runtime"] = on_onnx_runtime(graph, image)
        compiler = shutil.which(os.environ.get("CXX", "g++"))
        if options.compile and compiler:
            compiled = torch.compile(graph, dynamic=False)
            calls["torch.compile"] = lambda g=compiled, x=image: g(x)[0]
        with torch.inference_mode():
            reference = graph(image)[0]
            found = {name: call() for name, call in calls.items()}
            timing = interleaved(calls, options.rounds)
        for name in calls:
            same = name not in ("eager", "localiser alone")
            numbers = {
                "forward, s": timing.median(name),
                "images/s": batch / timing.median(name),
                "largest difference": float((found[name] - reference).abs().max()) if same else None,
            }
            goal = ">= 1" if name == "ONNX Runtime" and batch == 1 else ""
            ratio = timing.ratio("eager", name)
            rows.append(Row(f"{name}; batch {batch}, {size[0]} x {size[1]}", numbers, ratio, goal))
        if "torch.compile" not in calls:
            why = "not asked for" if compiler else "no C++ compiler here"
            rows.append(Row(f"torch.compile; batch {batch}, {size[0]} x {size[1]}", {"forward, s": None}, remark=why))
    return rows


def deployed_graph(size: tuple[int, int]) -> DeployedGraph:
    """The whole of what is exported, with fresh weights: they do not matter to time."""
    torch.manual_seed(0)
    localiser = calibrated(CAVGA(stages=3, head="pyramid", decoder=False).eval(), ["fused"])
    return DeployedGraph(localiser, image_size=size, roi_size=size, scales=SCALES).eval()


def half(graph: DeployedGraph, image: Tensor) -> Callable[[], Tensor]:
    """The graph under autocast to bfloat16."""

    def call() -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return graph(image)[0].float()

    return call


def on_onnx_runtime(graph: DeployedGraph, image: Tensor) -> Callable[[], Tensor]:
    """The exported file in a session of as many threads as torch has."""
    description = {"channels": 3, "image_size": list(image.shape[2:]), "notice": ""}
    content, _ = onnx_bytes(Deployed(graph, description, Compose([])))
    session = open_session(content, name="benchmark", threads=torch.get_num_threads())
    pixels = image.numpy()
    return lambda: torch.from_numpy(session.run(["maps"], {"image": pixels})[0])


def against_memory_bank(options: Options) -> list[Row]:
    """(i) A memory bank of random patches on the same encoder: seconds an image, and memory."""
    encoder = ResNetEncoder(stages=3).eval()
    rows: list[Row] = []
    image = torch.rand(1, 3, *options.size)
    every = torch.ones(options.size[0] // 8, options.size[1] // 8, dtype=torch.bool)
    for size, maps in product(options.banks, (["fused"], ["latent_distance"])):
        bank = MemoryBank(size=size)
        with torch.inference_mode():
            while len(bank.bank) < size:
                bank.observe(layer_features(encoder, torch.rand(3, *options.size)), every)
            bank.finish()
            localiser = calibrated(CAVGA(stages=3, head="pyramid", decoder=False).eval(), maps)
            ours: Callable[[], Any] = lambda f=localiser: f(image)  # noqa: E731 - two short calls side by side
            theirs: Callable[[], Any] = lambda b=bank: b.distance(layer_features(encoder, image[0]))  # noqa: E731
            timing = interleaved({"memory bank": theirs, "localiser": ours}, options.rounds)
            numbers = {
                **timing.medians(),
                "stored for it, memory bank, MiB": mib([bank.bank]),
                "stored for it, localiser, MiB": mib([*localiser.distance.buffers(), localiser.position]),
                "more at work, memory bank, MiB": peak_growth_mib(theirs),
                "more at work, localiser, MiB": peak_growth_mib(ours),
            }
            case = f"{maps[0]}, {size:,} patches, {options.size[0]} x {options.size[1]}"
            rows.append(Row(case, numbers, timing.ratio("memory bank", "localiser"), ">= 5"))
    return rows


def mib(tensors: list[Tensor]) -> float:
    """Memory of tensors."""
    return sum(each.numel() * each.element_size() for each in tensors) / 2**20
