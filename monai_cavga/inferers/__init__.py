"""Inferers for MONAI's evaluators."""

from __future__ import annotations

from monai_cavga.inferers.latent_grad_cam import LatentGradCAMInferer
from monai_cavga.inferers.tiled import TiledMapsInferer

__all__ = ["LatentGradCAMInferer", "TiledMapsInferer"]
