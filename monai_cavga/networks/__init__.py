"""Networks: CAVGA, its parts, the localiser, and loading of weights."""

from __future__ import annotations

from monai_cavga.networks.cavga import CAVGA, MAP_NAMES, CAVGAOutput
from monai_cavga.networks.decoders import DCGANDecoder, ResidualDecoder
from monai_cavga.networks.discriminators import DCGANDiscriminator
from monai_cavga.networks.encoders import DCGANEncoder, ResNetEncoder
from monai_cavga.networks.latent_distance import LatentDistance, aligned_features, stacked_features
from monai_cavga.networks.localizer import CAVGALocalizer
from monai_cavga.networks.weights import (
    WeightReport,
    WeightsError,
    load_encoder_weights,
    load_model,
    read_weights,
    settings_of_model,
    trained_or_shipped,
    warm_start,
)

__all__ = [
    "CAVGA",
    "MAP_NAMES",
    "CAVGALocalizer",
    "CAVGAOutput",
    "DCGANDecoder",
    "DCGANDiscriminator",
    "DCGANEncoder",
    "LatentDistance",
    "ResNetEncoder",
    "ResidualDecoder",
    "WeightReport",
    "WeightsError",
    "aligned_features",
    "load_encoder_weights",
    "load_model",
    "read_weights",
    "settings_of_model",
    "stacked_features",
    "trained_or_shipped",
    "warm_start",
]
