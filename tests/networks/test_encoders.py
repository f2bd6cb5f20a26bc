"""The two encoders: torchvision's names, standardisation inside, widths and strides."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_cavga.networks import DCGANEncoder, ResNetEncoder
from monai_cavga.networks.encoders import dcgan_downsampling, encoder_stride

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # of ImageNet, as torchvision's weights expect


def torchvision_names(*, stages: int) -> list[str]:
    """The keys of torchvision's ResNet-18 in its own order, without ``fc``."""
    normalisation = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    names = ["conv1.weight", *(f"bn1.{n}" for n in normalisation)]
    for stage in range(1, stages + 1):
        for block in (0, 1):
            for layer in (1, 2):
                names.append(f"layer{stage}.{block}.conv{layer}.weight")
                names += [f"layer{stage}.{block}.bn{layer}.{n}" for n in normalisation]
            if stage > 1 and block == 0:
                names.append(f"layer{stage}.0.downsample.0.weight")
                names += [f"layer{stage}.0.downsample.1.{n}" for n in normalisation]
    return names


@pytest.mark.parametrize(("stages", "count"), [(2, 60), (3, 90), (4, 120)])
def test_resnet_has_torchvisions_names(stages: int, count: int) -> None:
    names = list(ResNetEncoder(stages=stages).state_dict())
    assert len(names) == count
    assert names == torchvision_names(stages=stages)  # and nothing else: mean and std are no part of a file


def test_resnet_has_torchvisions_size() -> None:
    # torchvision states 11,689,512 parameters; fc has 512 * 1000 + 1000 of them
    assert sum(p.numel() for p in ResNetEncoder().parameters()) == 11_689_512 - 513_000


@pytest.mark.parametrize("channels", [1, 3, 4])
@torch.no_grad()
def test_resnet_standardises_inside(channels: int) -> None:
    encoder = ResNetEncoder(channels, stages=2).eval()
    seen: list[Tensor] = []
    encoder.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.rand(2, channels, 16, 24, generator=torch.Generator().manual_seed(0))
    encoder(image)
    mean, std = (MEAN, STD) if channels == 3 else ([sum(MEAN) / 3] * channels, [sum(STD) / 3] * channels)
    for c in range(channels):
        torch.testing.assert_close(seen[0][:, c], (image[:, c] - mean[c]) / std[c])


@torch.no_grad()
def test_dcgan_takes_minus_1_to_1() -> None:
    encoder = DCGANEncoder(stages=2).eval()
    assert (encoder(torch.full((1, 3, 16, 24), 0.5)) == 0).all()  # 2 * 0.5 - 1 = 0; no bias, fresh BatchNorm
    seen: list[Tensor] = []
    encoder.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(torch.tensor([0.0, 1.0]).repeat(1, 3, 16, 12))
    assert seen[0].unique().tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("stages", "stride", "resnet", "dcgan"), [(2, 8, 128, 256), (3, 16, 256, 512), (4, 32, 512, 512)]
)
@torch.no_grad()
def test_strides_and_widths(stages: int, stride: int, resnet: int, dcgan: int) -> None:
    for encoder, width in ((ResNetEncoder(stages=stages), resnet), (DCGANEncoder(stages=stages), dcgan)):
        features = encoder.eval()(torch.rand(1, 3, 2 * stride, 3 * stride))
        assert features.shape == (1, width, 2, 3)
        assert (encoder.stride, encoder.out_channels) == (stride, width)
    assert encoder_stride(stages) == stride


@pytest.mark.parametrize(
    ("encoder", "channels"),
    [
        (ResNetEncoder(stages=2), [64, 128]),
        (ResNetEncoder(stages=4), [64, 128, 256, 512]),
        (DCGANEncoder(stages=2), [128, 256]),
        (DCGANEncoder(stages=3), [128, 256, 512]),
        (DCGANEncoder(stages=4, channels=8), [16, 32, 64, 64]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(len(value)),
)
@torch.no_grad()
def test_pyramid(encoder: ResNetEncoder | DCGANEncoder, channels: list[int]) -> None:
    """All stages from stride 4 on; the last is the encoder's own output."""
    image = torch.rand(2, 3, 2 * encoder.stride, 3 * encoder.stride, generator=torch.Generator().manual_seed(0))
    pyramid = encoder.eval().pyramid(image)
    assert encoder.pyramid_channels == channels
    height, width = image.shape[-2:]
    expected = [(2, c, height // 2 ** (k + 2), width // 2 ** (k + 2)) for k, c in enumerate(channels)]
    assert [tuple(features.shape) for features in pyramid] == expected
    assert torch.equal(pyramid[-1], encoder(image))
    if isinstance(encoder, ResNetEncoder):
        assert all(features.min() == 0 for features in pyramid)  # each after its activation


@torch.no_grad()
def test_stages_of_the_pyramid_are_the_resnets_layers() -> None:
    encoder = ResNetEncoder(stages=3).eval()
    seen: list[Tensor] = []
    for layer in (encoder.layer1, encoder.layer2, encoder.layer3):
        layer.register_forward_hook(lambda *args: seen.append(args[2]))
    pyramid = encoder.pyramid(torch.rand(1, 3, 32, 48))
    assert len(seen) == len(pyramid) == 3
    assert all(torch.equal(a, b) for a, b in zip(seen, pyramid, strict=True))


def test_three_stages_are_dcgans_own_discriminator() -> None:
    layers = DCGANEncoder(stages=3).layers
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(3, 64), (64, 128), (128, 256), (256, 512)]
    assert all((c.kernel_size, c.stride, c.padding, c.bias) == ((4, 4), (2, 2), (1, 1), None) for c in convolutions)
    assert isinstance(layers[1], nn.LeakyReLU)  # no BatchNorm after the first convolution
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) == 3
    assert all(layer.negative_slope == 0.2 for layer in layers if isinstance(layer, nn.LeakyReLU))


def test_width_of_a_small_dcgan() -> None:
    assert DCGANEncoder(stages=2, channels=8).out_channels == 32
    assert dcgan_downsampling(1, depth=2, channels=4)(torch.rand(2, 1, 12, 20)).shape == (2, 8, 3, 5)


@pytest.mark.parametrize("encoder", [ResNetEncoder, DCGANEncoder])
@pytest.mark.parametrize("stages", [0, 1, 5])
def test_other_numbers_of_stages(encoder: type[nn.Module], stages: int) -> None:
    with pytest.raises(ValueError, match=rf"stages is {stages}, expected 2, 3 or 4 \(stride 8, 16 or 32\)"):
        encoder(stages=stages)
